"""Names in a pipeline to classes, classes and YAML to objects, objects to their identity.

A bare name is a built-in or an installed entry point. ``package.module:Class`` is the
user's own code and is imported only where the pipeline's ``plugins:`` allows its module.
Built-ins are imported when asked for, so that a pipeline pays for what it names.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast, get_args, get_type_hints

import pydantic
import xxhash

from curate.errors import ConfigError, InputError, nearest
from curate.mixers.mixer import AnyMixer
from curate.scorers.scorer import Scorer

SCORERS = {
    "bits_per_byte": "curate.scorers.bits_per_byte:BitsPerByte",
    "agreement": "curate.scorers.agreement:Agreement",
    "clusters": "curate.scorers.clusters:Clusters",
    "contamination": "curate.scorers.contamination:Contamination",
    "correlation_classifier": "curate.scorers.correlation_classifier:CorrelationClassifier",
    "embedding": "curate.scorers.embedding:Embedding",
    "fasttext": "curate.scorers.fasttext:FastText",
    "heuristics": "curate.scorers.heuristics:Heuristics",
    "minhash": "curate.scorers.minhash:MinHash",
    "ngram_perplexity": "curate.scorers.ngram_perplexity:NgramPerplexity",
    "ordinal_rater": "curate.scorers.ordinal_rater:OrdinalRater",
    "static_embedding": "curate.scorers.static_embedding:StaticEmbedding",
    "tokens": "curate.scorers.tokens:Tokens",
}
MIXERS = {
    "natural": "curate.mixers.natural:NaturalMixer",
    "perplexity_correlation": "curate.mixers.perplexity_correlation:PerplexityCorrelation",
    "samplemix": "curate.mixers.samplemix:SampleMix",
    "static": "curate.mixers.static:StaticMixer",
    "stratified": "curate.mixers.stratified:StratifiedMixer",
    "temperature": "curate.mixers.temperature:TemperatureMixer",
}
BLOCK_BYTES = 1 << 24

Part = TypeVar("Part", Scorer, AnyMixer)


def scorer_class(name: str, plugins: Sequence[str] = (), plugin_paths: Sequence[Path] = ()) -> type[Scorer]:
    """The scorer class a pipeline names.

    Args:
        name: a built-in, an entry point of the group ``curate.scorers``, or ``package.module:Class``.
        plugins: packages or modules that may be imported for ``package.module:Class``.
        plugin_paths: folders they may live in besides the installed ones.

    Raises:
        ConfigError: nothing has that name, or what has it is no scorer, or it may not or cannot be imported.
    """
    return cast(type[Scorer], _resolve("scorer", Scorer, SCORERS, name, plugins, plugin_paths))


def mixer_class(name: str, plugins: Sequence[str] = (), plugin_paths: Sequence[Path] = ()) -> type[AnyMixer]:
    """The mixer class a pipeline names; as ``scorer_class``, with the group ``curate.mixers``."""
    return cast(type[AnyMixer], _resolve("mixer", AnyMixer, MIXERS, name, plugins, plugin_paths))


def scorer_names() -> list[str]:
    """Every bare name a scorer can have here: built-ins and entry points, sorted."""
    return sorted({*SCORERS, *_installed("scorer")})


def mixer_names() -> list[str]:
    """Every bare name a mixer can have here: built-ins and entry points, sorted."""
    return sorted({*MIXERS, *_installed("mixer")})


def _installed(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"curate.{kind}s")}


def _resolve(kind: str, base: type, built_in: dict[str, str], name: str, plugins: Sequence[str], paths: Sequence[Path]) -> type:
    if ":" in name:
        module, _, attribute = name.partition(":")
        _allow(kind, name, module, plugins)
        with _beside(paths):
            return _checked(kind, base, name, _attribute(name, _module(name, module), attribute, base))
    if name in built_in:
        module, _, attribute = built_in[name].partition(":")
        return _checked(kind, base, name, getattr(_module(name, module), attribute))
    point = _installed(kind).get(name)
    if point is None:
        known = sorted({*built_in, *_installed(kind)})
        raise ConfigError(
            f"there is no {kind} {name!r}", expected=f"a known {kind}, or your own as package.module:Class", fix=nearest(name, known)
        )
    return _checked(kind, base, name, _attribute(name, _module(name, point.module), point.attr, base))


def _allow(kind: str, name: str, module: str, plugins: Sequence[str]) -> None:
    """Refuse to import a module that the pipeline does not allow."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{name!r} names no {kind}", expected="package.module:Class", fix="correct the name")
    if not any(module == plugin or module.startswith(plugin + ".") for plugin in plugins):
        top = module.split(".")[0]
        raise ConfigError(
            f"{name!r} is code of your own, and this pipeline does not allow its import",
            where=f"plugins: [{', '.join(plugins)}]",
            expected=f"{top!r} among `plugins:`",
            fix=f"add `plugins: [{top}]` if you trust it",
        )


@contextmanager
def _beside(paths: Sequence[Path]) -> Iterator[None]:
    """Let modules in these folders be found, for the time of one import."""
    added = [str(Path(path).resolve()) for path in paths]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path in added:
            sys.path.remove(path)


def _module(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            what, fix = f"{name!r}: there is no module {error.name!r}", "correct the name, or put the module beside the pipeline file"
        else:
            what, fix = (
                f"{name!r} needs the package {error.name!r}, which is not installed",
                "install it, or an extra of curate that brings it",
            )
        raise ConfigError(what, where=module, expected="an importable module", fix=fix) from error
    except Exception as error:
        raise ConfigError(f"{name!r} cannot be imported: {type(error).__name__}: {error}", where=module, fix="mend the module") from error


def _attribute(name: str, module: ModuleType, attribute: str, base: type) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    offered = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base) and value is not base]
    raise ConfigError(
        f"{name!r}: the module has no {attribute!r}", where=module.__name__, expected="a class in it", fix=nearest(attribute, offered)
    )


def _checked(kind: str, base: type, name: str, found: Any) -> type:
    """The class, once it is one that can be built."""
    where = f"{getattr(found, '__module__', '?')}:{getattr(found, '__qualname__', found)}"
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ConfigError(
            f"{name!r} is no {kind}", where=where, expected=f"a subclass of curate's {base.__name__}", fix="name another class"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(f"the {kind} {name!r} is not finished", where=where, expected=f"a method {missing}", fix=f"define {missing}")
    if "__dataclass_fields__" not in vars(found) and inspect.get_annotations(found):
        raise ConfigError(
            f"the fields of {name!r} would be ignored", where=where, expected="a dataclass", fix="put @dataclass above the class"
        )
    return found


def _options_model(cls: type) -> type[pydantic.BaseModel]:
    """A pydantic model with the dataclass's own fields, which refuses any other."""
    hints = get_type_hints(cls, include_extras=True)
    described: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=field.default_factory)
        described[field.name] = (hints[field.name], default)
    settings = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return pydantic.create_model(cls.__name__, __config__=settings, __doc__=cls.__doc__, **described)


def build(cls: type[Part], options: Mapping[str, Any] | None, where: str = "") -> Part:
    """A scorer or mixer from its YAML mapping, checked.

    Args:
        cls: what ``scorer_class`` or ``mixer_class`` gave.
        options: field names to values; None means no options.
        where: the place in the pipeline, for messages: ``scorers.quality``.

    Raises:
        ConfigError: an unknown, missing or ill-typed option, or one that ``check`` refuses.
        InputError: a file that ``check`` finds missing or corrupt.
    """
    given = {} if options is None else options
    place = where or cls.__name__
    if not isinstance(given, Mapping):
        shown = f"{type(given).__name__} {given!r}"
        raise ConfigError(
            f"the options of {cls.__name__} are {shown}", where=place, expected="a mapping of option to value", fix="write key: value"
        )
    try:
        values = _options_model(cls).model_validate(dict(given))
    except pydantic.ValidationError as error:
        raise _explained(cls, error, place) from None
    try:
        made = cls(**{name: getattr(values, name) for name in values.model_fields_set})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{cls.__name__} refuses its options: {error}", where=place, fix="change the options") from error
    made.check()
    return made


def _explained(cls: type, error: pydantic.ValidationError, where: str) -> ConfigError:
    """What pydantic found, the first problem in full and the others named."""
    problems = error.errors(include_url=False)
    first = problems[0]
    path = ".".join(str(part) for part in first["loc"])
    rest = "" if len(problems) == 1 else f" (and {len(problems) - 1} more: {', '.join(str(p['loc'][0]) for p in problems[1:])})"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_at(cls, first["loc"])
        hint = nearest(str(first["loc"][-1]), known) if known else "remove it"
        return ConfigError(f"{cls.__name__} has no option {path!r}{rest}", where=f"{where}.{path}", expected="an option it has", fix=hint)
    if first["type"] == "missing":
        return ConfigError(
            f"{cls.__name__} needs the option {path!r}{rest}", where=where, expected=f"a value for {path!r}", fix=f"add {path}:"
        )
    hint = get_type_hints(cls).get(str(first["loc"][0]), "")
    kind = getattr(hint, "__name__", hint) if inspect.isclass(hint) else str(hint)
    message = first["msg"].replace("Input should be", "").strip()
    given = first["input"]
    what = f"the option {path!r} of {cls.__name__} is {given!r} ({type(given).__name__}){rest}"
    return ConfigError(what, where=f"{where}.{path}", expected=f"{kind}: {message}", fix="correct the value")


def _keys_at(cls: type, location: tuple[Any, ...]) -> list[str]:
    """The keys that are known where an unknown one was found: of the class, or of the dataclass that a field holds."""
    for name in location[:-1]:
        hint = get_type_hints(cls).get(str(name))
        inside = [kind for kind in (hint, *get_args(hint)) if inspect.isclass(kind) and dataclasses.is_dataclass(kind)]
        if not inside:
            return []
        cls = inside[0]
    return [field.name for field in dataclasses.fields(cls) if field.init]


def options_schema(cls: type[Scorer] | type[AnyMixer]) -> dict[str, Any]:
    """JSON Schema of the YAML mapping that ``build`` takes for this class."""
    return _options_model(cls).model_json_schema()


def identity(part: Scorer | AnyMixer) -> dict[str, Any]:
    """What a scorer or mixer is, JSON-able: equal identities give equal outputs on equal inputs.

    Class, version and field values; each file it reads by content instead of by path, so that
    moving a model changes nothing; and, for a class that is no built-in, the content of its module.

    Raises:
        InputError: one of its files is missing.
    """
    cls = type(part)
    files = [Path(path) for path in part.artifacts()] if isinstance(part, Scorer) else []
    hashes: dict[str, Any] = {str(path): content_hash(path) for path in files}
    # A model may be named by the folder that holds its files.
    hashes |= {str(folder): [hashes[str(p)] for p in files if p.parent == folder] for folder in {path.parent for path in files}}
    found: dict[str, Any] = {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "version": part.version,
        "options": {field.name: _plain(getattr(part, field.name), hashes) for field in dataclasses.fields(part) if field.init},
        "files": [hashes[str(path)] for path in files],
    }
    # Files count by content, but what a scorer may say of a document can hold their names.
    codes = (
        [field.metadata[b"codes"].decode() for field in part.outputs if b"codes" in (field.metadata or {})]
        if isinstance(part, Scorer)
        else []
    )
    if codes:
        found["codes"] = codes
    if cls.__module__.partition(".")[0] != "curate":
        source = inspect.getsourcefile(cls)
        if source is not None:
            found["source"] = content_hash(Path(source))
    return found


def content_hash(path: Path) -> str:
    """xxh3-128 of a file's content, 32 hex digits, read block by block.

    Raises:
        InputError: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"a file the pipeline names cannot be read: {error.strerror}", where=str(path), expected="a readable file"
        ) from error
    return digest.hexdigest()


def _plain(value: Any, hashes: Mapping[str, Any]) -> Any:
    """A field value as JSON; files by content, numbers that JSON lacks by name."""
    if isinstance(value, str | Path) and str(Path(value)) in hashes:
        return {"xxh3_128": hashes[str(Path(value))]}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), hashes) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, hashes) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item, hashes) for item in value)
    if isinstance(value, Sequence):
        return [_plain(item, hashes) for item in value]
    return str(value)
