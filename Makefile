# Everything from a checkout: `make demo` needs Python 3.11 or newer, pip and this file.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DECLARED = setup.cfg pyproject.toml constraints.txt

.PHONY: help demo test test-slow check format bench clean

help:
	@echo 'make demo       install curate into $(VENV) and run pipelines/quickstart.yaml'
	@echo 'make test       the default tests            make test-slow  the long ones'
	@echo 'make check      ruff, mypy, import-linter     make format     let ruff rewrite'
	@echo 'make bench      the benchmarks                make clean      remove caches and builds'

demo: $(VENV)/.curate
	$(BIN)/curate run pipelines/quickstart.yaml

test: $(VENV)/.curate-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.curate-dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.curate-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.curate-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.curate-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find curate tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or newer: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.curate: $(DECLARED) | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

# KenLM's module is compiled on the spot; without a C++ compiler the tests of its binary models are skipped.
$(VENV)/.curate-dev: $(DECLARED) | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	$(INSTALL) kenlm || echo 'kenlm could not be built: its tests will be skipped'
	@touch $@ $(VENV)/.curate
