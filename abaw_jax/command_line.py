"""Flags that all commands share: configurations and paths, checked in one sentence.

``--config=configs/student.py`` and ``--config=student`` name a file of the current
folder or, where there is none, one that is shipped with the package.
"""

import difflib
import importlib.util
import inspect
import logging
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

from abaw_jax.releases.names import printable

# Flags defined here are listed by --help of the command that asks for them.
flags.disclaim_key_flags()

_HERE = Path(__file__).parent
# Beside the package in a checkout, inside it once it is installed.
SHIPPED = next(p for p in (_HERE / "configs", _HERE.parent / "configs") if p.is_dir())

_CONFIG = re.compile(r"--?config=(?P<file>[^:]*)(?::(?P<variant>.*))?")
_OVERRIDE = re.compile(r"--?(?:no)?config\.(?P<field>[^=\[]+)(?:\[\d+\])?(?:=(.*))?")


# Fields and groups of fields that had other names before 0.2.
_RENAMED = {"reading": "equations", "kd.bank": "kd.cache_soft_labels"}

_ITEM = "\n  "  # between the faults of a list; what is indented passes for no message

Main = Callable[[Sequence[str]], Any]


def run(main: Main, argv: Sequence[str] | None = None) -> None:
    """Runs a command; a wrong flag or field ends it with one sentence."""
    sys.unraisablehook = _report_unraisable
    # The same of reads that were gathered; nothing else here uses asyncio.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    def shown(argv: Sequence[str]) -> Any:
        try:
            return main(argv)
        except SystemExit as stop:
            if isinstance(stop.code, str):  # it may quote a name of a file
                faults = stop.code.split(_ITEM)
                stop.code = _ITEM.join(map(printable, faults))
            raise

    app.run(shown, argv=None if argv is None else list(argv), flags_parser=_parse)


def _report_unraisable(unraisable: Any) -> None:
    """Leaves out what Python reports of Orbax's reads after the first that failed.

    Orbax reads the arrays of a checkpoint concurrently and raises the first error. The
    other reads end after that: in coroutines that are collected, or in callbacks of an
    event loop that is closed. Each would print a traceback.
    """
    code = getattr(unraisable.object, "cr_code", None)
    of_orbax = code is not None and "orbax" in Path(code.co_filename).parts
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def define_path(name: str, help_text: str) -> flags.FlagHolder[Path | None]:
    """Defines a flag for a path; ``~`` is the home folder, nothing is no path."""
    return flags.DEFINE(_PathParser(), name, None, help_text)


def refuse_arguments(argv: Sequence[str]) -> None:
    """Refuses words that are no flags.

    Raises:
      UsageError: if there are any.
    """
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]} is not a flag.")


def load_config(name: str) -> ConfigDict:
    """The configuration that ``FILE[:variant]`` names.

    Args:
      name: of a file, in the current folder or shipped, and of its variant.

    Raises:
      ValueError: if there is no such file or variant; says which there are.
    """
    file, _, variant = name.partition(":")
    path = find_config(file)
    _make_importable()
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if variant and not inspect.signature(module.get_config).parameters:
        raise ValueError(f"{path} has no variants; write --config={file}")
    return module.get_config(*filter(None, [variant]))


def find_config(file: str) -> Path:
    """The path of a configuration file.

    Raises:
      ValueError: if there is no such file.
    """
    stem = Path(file).stem
    candidates = (Path(file).expanduser(), SHIPPED / f"{stem}.py")
    shipped = Path(file).parent in (Path(), Path("configs"))
    for path in candidates if shipped else candidates[:1]:
        if path.is_file():
            return path
    known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.py") if p.stem != "base"))
    raise ValueError(f"there is no configuration {file}; shipped are {known}")


class _PathParser(flags.ArgumentParser[Path]):
    syntactic_help = "a path"

    def parse(self, argument: str | Path) -> Path:
        if not str(argument).strip():
            raise ValueError("names no path")
        return Path(argument).expanduser()

    def flag_type(self) -> str:
        return "path"


def _make_importable() -> None:
    """Lets configurations import their base as ``configs.base`` from anywhere."""
    if importlib.util.find_spec("configs") is None:
        package = types.ModuleType("configs")
        package.__path__ = [str(SHIPPED)]
        sys.modules["configs"] = package


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; a misspelt field or a missing file ends the command."""
    try:
        argv, nothing = _prepare(argv)
        rest = app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"abaw_jax: configuration: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)
    if not flags.FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax logs every file
    for field in nothing:
        *rooms, last = field.split(".")
        part: Any = flags.FLAGS["config"].value
        for room in rooms:
            part = part[room]
        part[last] = None
    return rest


def _prepare(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments with the file's path, less the fields that are set to None."""
    names = [*filter(None, map(_CONFIG.fullmatch, argv))]
    if not names:
        return list(argv), []
    file, variant = names[-1]["file"], names[-1]["variant"]
    variant = f":{variant}" if variant else ""
    fields = dict(_flat(load_config(file + variant)))
    path = find_config(file)
    kept, nothing = [], []
    for argument in argv:
        override = _OVERRIDE.fullmatch(argument)
        if _CONFIG.fullmatch(argument):
            argument = f"--config={path}{variant}"
        elif override is not None:
            _require_field(override["field"], fields)
            if override[2] == "None":
                nothing.append(override["field"])
                continue
            argument = _plain(argument, override, fields[override["field"]])
        kept.append(argument)
    return kept, nothing


def _plain(argument: str, override: re.Match[str], default: Any) -> str:
    """The argument with its home folder, or its list of names, written out."""
    value = override[2] or ""
    if value.startswith("~"):
        return f"--config.{override['field']}={Path(value).expanduser()}"
    names = isinstance(default, tuple) and all(isinstance(v, str) for v in default)
    if names and "," in value and value[0] not in "([":
        return f"--config.{override['field']}={tuple(value.split(','))!r}"
    return argument


def _require_field(name: str, fields: dict[str, Any]) -> None:
    if name in fields:
        return
    for former, new in _RENAMED.items():
        if name == former or name.startswith(f"{former}."):
            raise ValueError(f"{name} is called {new}{name[len(former) :]} now")
    ends = {field.rpartition(".")[2]: field for field in fields}
    room, _, end = name.rpartition(".")
    similar = difflib.get_close_matches(name, fields, n=1, cutoff=0.8)
    similar = similar or difflib.get_close_matches(end, ends, n=1, cutoff=0.8)
    beside = [field for field in fields if field.rpartition(".")[0] == room]
    if similar:
        hint = f"; did you mean {ends.get(similar[0], similar[0])}?"
    else:
        hint = f"; there are {', '.join(beside)}" if beside else ""
    raise ValueError(f"there is no field {name}{hint}")


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _sentence(error: BaseException) -> str:
    """The message of an error, or of the one that it wraps, on one line."""
    reason = error.args[0] if error.args else type(error).__name__
    if isinstance(reason, BaseException):
        return _sentence(reason)
    return printable(" ".join(str(reason).split()))
