"""The command line: check · plan · run · show · report · why · schema."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from curate.errors import ConfigError, CurateError, InputError

app = typer.Typer(
    name="curate",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""From raw text to weighted Arrow shards: which documents, and how often each.

One YAML says what to compute. `check` it, `plan` it, `run` it; then `show` what came out and ask `why` of any document.
A run that was stopped goes on where it was: nothing that was committed is computed again.""",
    epilog="Start with: curate run pipelines/quickstart.yaml",
)

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE", help="the pipeline's YAML")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="override one key, e.g. mix.token_budget=10M or score.tokens.vocab_size=8192; repeatable"
    ),
]
Conf = Annotated[Path | None, typer.Option("--conf", metavar="FILE", help="where and how to run (conf/*.yaml); changes no result")]
EngineName = Annotated[str | None, typer.Option("--engine", metavar="ray|process", help="override the conf's engine")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="override the conf's number of workers")]
CorpusPath = Annotated[str, typer.Argument(metavar="CORPUS", help="the output directory of a pipeline, or its URL")]
MixName = Annotated[str | None, typer.Option("--mix", help="which mix, where there are several")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False) -> None:
    """Options before the verb."""
    if debug:
        os.environ["CURATE_DEBUG"] = "1"


def _console() -> Console:
    """The screen. Texts, domains and paths of the user's may hold square brackets: they are shown, not obeyed."""
    return Console(markup=False)


def _pipeline(file: Path, overrides: list[str] | None, conf: Path | None, engine: str | None = None, workers: int | None = None) -> Any:
    from curate.pipeline import Pipeline

    return Pipeline.from_yaml(file, overrides=overrides, conf=conf, engine=engine, workers=workers)


@app.command()
def check(file: PipelineFile, overrides: Set = None, conf: Conf = None) -> None:
    """Find everything that can be known to be wrong without reading the corpus.

    Keys and values, scorers and their options, the columns each stage needs, model and
    tokenizer files, sources that match nothing, an output directory of another pipeline.
    """
    from curate.tree import stage_tree

    pipeline = _pipeline(file, overrides, conf)
    pipeline.check()
    console = _console()
    console.print(stage_tree(pipeline))
    console.print(Text.assemble(("✓", "green"), f" {file} can run"))


@app.command()
def plan(
    file: PipelineFile,
    overrides: Set = None,
    conf: Conf = None,
    engine: EngineName = None,
    workers: Workers = None,
    sample_bytes: Annotated[str, typer.Option("--sample", help="text to try the pipeline on; 0 estimates nothing")] = "4MB",
) -> None:
    """Print the stages, what is done and pending, and what the rest will cost.

    A small sample of every source goes through the whole pipeline in a scratch
    directory; documents, tokens, bytes, time and memory are scaled up from it.
    """
    from curate.planning import estimate
    from curate.quantities import parse_bytes
    from curate.tree import estimate_table, stage_tree

    pipeline = _pipeline(file, overrides, conf, engine, workers)
    console = _console()
    console.print(stage_tree(pipeline))
    try:
        n_bytes = parse_bytes(sample_bytes)
    except ValueError as error:
        raise ConfigError("--sample is no size", where="--sample", expected=str(error), fix="write for instance --sample 4MB") from error
    if n_bytes:
        console.print()
        console.print(estimate_table(pipeline, estimate(pipeline, int(n_bytes))))


@app.command()
def run(
    file: PipelineFile,
    overrides: Set = None,
    conf: Conf = None,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="this stage alone")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="this stage and what it is made from")] = None,
    engine: EngineName = None,
    workers: Workers = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress, no summary")] = False,
) -> None:
    """Run what is pending; print what came of it.

    Stages are named as `curate check` prints them: ingest, score/langid (or langid), select, mix, emit.
    """
    from curate.progress import Progress
    from curate.summary import show_summary

    pipeline = _pipeline(file, overrides, conf, engine, workers)
    corpus = pipeline.run(only=only, until=until, progress=Progress(quiet=quiet))
    if not quiet:
        show_summary(_console(), corpus, pipeline.times())


@app.command()
def show(
    corpus: CorpusPath,
    shard: Annotated[str | None, typer.Argument(metavar="[SHARD]", help="a documents part or an output shard, by name")] = None,
    mix: MixName = None,
    verify: Annotated[bool, typer.Option("--verify", help="read every file and compare it with its record")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="what other settings of a samplemix would do")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="with --sweep: every combination as CSV or Parquet")] = None,
) -> None:
    """Show a corpus, one of its shards, or a mix: schema, counts, ledger, lineage.

    CORPUS may also be one of its mixes, as CORPUS/mixes/NAME. With --sweep, what other settings of alpha, temperature and
    budget would do to domain shares and copies: from sums the mix has left, without a look at documents.
    """
    from curate.show import show_corpus, show_shard, split_mix
    from curate.verify import verify as verify_corpus

    console = _console()
    corpus, mix = split_mix(corpus, mix)
    if out is not None and not sweep:
        raise ConfigError("--out is for --sweep", where="command line", expected="both or neither", fix="add --sweep")
    if sweep:
        from curate.sweep import show_sweep

        console.print(show_sweep(corpus, mix, out))
        return
    # Verified first: what is damaged may not open at all.
    checked = verify_corpus(corpus, mix) if verify else 0
    console.print(show_shard(corpus, shard, mix) if shard else show_corpus(corpus, mix))
    if verify:
        console.print(Text.assemble(("✓", "green"), f" {checked} files and every ledger verified"))


@app.command()
def report(
    corpus: CorpusPath,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="where to write it; default report.html in the corpus")] = None,
    mix: MixName = None,
) -> None:
    """Write a corpus as one HTML page: where records went, shares, scores by domain, agreement, mixture, lineage.

    The page fetches nothing and runs no script. Needs matplotlib, the extra `report`.
    """
    from curate.report import write_report

    _console().print(write_report(corpus, out, mix), soft_wrap=True, highlight=False)


@app.command()
def why(
    document: Annotated[
        str, typer.Argument(metavar="DOC_ID", help="32 hex digits (a unique prefix will do), or SHARD:ROW of an emitted shard")
    ],
    corpus: CorpusPath,
    mix: MixName = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="what each token cost the language models that scored it")] = False,
) -> None:
    """Tell everything about one document: source, scores, verdict, weight, copies, and where each copy went."""
    from curate.why import explain

    _console().print(explain(corpus, document, mix, tokens))


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="pipeline or conf")] = "pipeline",
) -> None:
    """Print the JSON Schema of pipeline (or conf) files, for editors to complete and check them."""
    from curate.json_schema import json_schema

    typer.echo(json.dumps(json_schema(what), indent=2))


def print_error(error: CurateError, console: Console) -> None:
    """One screen: what, where, expected, change."""
    console.print(Text.assemble(("error  ", "bold red"), (error.what, "bold")))
    for label, text in error.lines():
        console.print(Text.assemble((f"  {label:<9}", "dim"), text))


def _about_a_file(error: OSError | ValueError) -> CurateError | None:
    """What the disk or a damaged file said, as an error a person can mend; None for an error of the program."""
    import pyarrow as pa

    from curate.storage import explain

    if isinstance(error, OSError):
        told = explain(error, str(error.filename or ""))
        if isinstance(told, CurateError):
            return told
    elif not isinstance(error, pa.ArrowException | json.JSONDecodeError):
        return None
    return InputError(
        f"a file cannot be read or written: {error}",
        where=str(getattr(error, "filename", None) or ""),
        expected="a whole file on a disk that answers",
        fix="`curate show CORPUS --verify` names a damaged file of a corpus; --debug shows where this happened",
    )


def main() -> None:
    """The console script: errors a person can mend exit with 2 and no traceback."""
    errors = Console(stderr=True, markup=False)
    try:
        app()
    except BrokenPipeError:
        sys.exit(0)
    except (CurateError, OSError, ValueError) as error:
        told = error if isinstance(error, CurateError) else _about_a_file(error)
        if told is None or os.environ.get("CURATE_DEBUG"):
            raise
        print_error(told, errors)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("stopped; run the same command again to go on from what is committed")
        sys.exit(130)


if __name__ == "__main__":
    main()
