"""Flags that all commands share: configurations and paths, checked in one sentence.

``--config=configs/student.py`` and ``--config=student`` name a file of the current
folder or, where there is none, one that is shipped with the package.
"""

import gc
import importlib.util
import inspect
import logging
import os
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

from abaw_jax.experiment.checks import faults, flat, in_words
from abaw_jax.experiment.field_names import name_fault
from abaw_jax.experiment.field_rules import RULES
from abaw_jax.path_faults import file_fault, folder_fault, without_number
from abaw_jax.releases.names import printable
from abaw_jax.system_limits import advice_on, in_a_sentence
from abaw_jax.training.environment_faults import environment_fault

# Flags defined here are listed by --help of the command that asks for them.
flags.disclaim_key_flags()

_HERE = Path(__file__).parent
# Beside the package in a checkout, inside it once it is installed.
SHIPPED = next(p for p in (_HERE / "configs", _HERE.parent / "configs") if p.is_dir())

_CONFIG = re.compile(r"--?config=(?P<file>[^:]*)(?::(?P<variant>.*))?")
_OVERRIDE = re.compile(
    r"--?(?:no)?config\.(?P<field>[^=\[]+)(?:\[\d+\])?(?:=(?P<value>.*))?"
)

# By the kind of a field's default; any text is a path or a name.
_PARSERS: dict[type, flags.ArgumentParser] = {
    bool: flags.BooleanParser(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
}

_ITEM = "\n  "  # between the faults of a list; what is indented passes for no message

_PATIENCE = 3.0  # seconds for threads that are left when a command ends

# What a command raises because of the system or of JAX's settings.
_NOT_OF_COMMANDS = (AssertionError, MemoryError, RuntimeError, SystemError, ValueError)

Main = Callable[[Sequence[str]], Any]
FindFaults = Callable[[ConfigDict], list[str]]


def run(
    main: Main, argv: Sequence[str] | None = None, find_faults: FindFaults = faults
) -> None:
    """Runs a command; a wrong flag or field ends it with one sentence.

    Args:
      main: of the command.
      argv: its arguments; by default those of the process.
      find_faults: finds what else is wrong, beside fields that cannot be set.
    """
    # Tracing makes millions of objects: looking for cycles among each 700 new ones
    # takes 7 % of a short run.
    gc.set_threshold(100_000, 10, 10)
    sys.unraisablehook = _report_unraisable
    # The same of reads that were gathered; nothing else here uses asyncio.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    def shown(argv: Sequence[str]) -> Any:
        try:
            return main(argv)
        except SystemExit as stop:
            if isinstance(stop.code, str):
                _end(_with_advice(stop.code, stop.__context__))
            raise
        except _NOT_OF_COMMANDS as error:
            if advice := advice_on(error):
                _end(f"abaw_jax: {in_a_sentence(error, advice)}")
            if fault := environment_fault(error):
                _end(f"abaw_jax: {fault}.")
            raise

    parse = partial(_parse, find_faults=find_faults)
    app.run(shown, argv=None if argv is None else list(argv), flags_parser=parse)


def _with_advice(sentence: str, error: BaseException | None) -> str:
    """What a command says in the end, and what to do where the system refused.

    An error without a number says what to do itself, unless it explains another.
    """
    if not isinstance(error, OSError):
        return sentence
    sentence = sentence.replace(str(error), without_number(error))
    refused = error if error.errno is not None else error.__cause__
    if advice := advice_on(refused):
        return f"{sentence.removesuffix('.')}: {advice}."
    return sentence


def _end(sentence: str) -> NoReturn:
    """Ends the command with a sentence, and a thread of a library does not keep it.

    Orbax's wait ten minutes for others of them that failed.
    """
    # It may quote a name of a file.
    sentence = _ITEM.join(map(printable, sentence.split(_ITEM)))
    ends = time.monotonic() + _PATIENCE
    others = [each for each in threading.enumerate() if not each.daemon]
    others.remove(threading.main_thread())
    for thread in others:
        thread.join(max(0.0, ends - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        print(sentence, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)
    sys.exit(sentence)


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


def define_folder(name: str, help_text: str) -> flags.FlagHolder[Path | None]:
    """The same for a folder: a path with something else there is refused."""
    return flags.DEFINE(_PathParser(folder_fault), name, None, help_text)


def define_file(name: str, help_text: str) -> flags.FlagHolder[Path | None]:
    """The same for a file."""
    return flags.DEFINE(_PathParser(file_fault), name, None, help_text)


def define_files(name: str, help_text: str) -> flags.FlagHolder[list[Path]]:
    """The same for any number of files: a flag that may be repeated."""
    parser = _PathParser(file_fault)
    return flags.DEFINE_multi(parser, flags.ArgumentSerializer(), name, [], help_text)


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
    candidates = (_at_home(file), SHIPPED / f"{stem}.py")
    shipped = Path(file).parent in (Path(), Path("configs"))
    for path in candidates if shipped else candidates[:1]:
        if path.is_file():
            return path
    known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.py") if p.stem != "base"))
    raise ValueError(f"there is no configuration {file}; shipped are {known}")


class _PathParser(flags.ArgumentParser[Path]):
    syntactic_help = "a path"

    def __init__(self, fault: Callable[..., str | None] | None = None) -> None:
        super().__init__()
        self._fault = fault

    def parse(self, argument: str | Path) -> Path:
        if not str(argument).strip():
            raise ValueError("names no path")
        path = _at_home(str(argument))
        # The command decides whether a missing path is an error.
        if self._fault is not None and (reason := self._fault(path, made=True)):
            raise ValueError(reason)
        return path

    def flag_type(self) -> str:
        return "path"


def _at_home(path: str) -> Path:
    """The path, where ``~`` is the home folder.

    Raises:
      ValueError: if there is none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path}: this user has no home folder; write the path out"
        ) from None


def _make_importable() -> None:
    """Lets configurations import their base as ``configs.base`` from anywhere."""
    if importlib.util.find_spec("configs") is None:
        package = types.ModuleType("configs")
        package.__path__ = [str(SHIPPED)]
        sys.modules["configs"] = package


def _parse(argv: Sequence[str], find_faults: FindFaults) -> list[str]:
    """Parses flags; wrong fields or a missing file end the command."""
    try:
        argv, nothing, wrong = _prepare(argv)
        sys.argv = argv  # config_flags looks there for the fields that are set
        rest = app.parse_flags_with_usage(argv)
        if nothing or wrong:
            config: Any = flags.FLAGS["config"].value
            config.update_from_flattened_dict(dict.fromkeys(nothing))
            wrong += find_faults(config) if wrong else []
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(f"abaw_jax: configuration: {_sentence(error)}")
    if wrong:
        sys.exit(f"abaw_jax: {in_words(wrong)}")
    if not flags.FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax logs every file
    return rest


def _prepare(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Prepares arguments for absl, which would end at the first that is wrong.

    Returns:
      The arguments with the file's path; the fields that are set to None; a sentence
      on each field that there is not, or whose value is of another kind.
    """
    names = [*filter(None, map(_CONFIG.fullmatch, argv))]
    if not names:
        return list(argv), [], []
    file, variant = names[-1]["file"], names[-1]["variant"]
    variant = f":{variant}" if variant else ""
    defaults = dict(flat(load_config(file + variant)))
    path = find_config(file)
    kept, nothing, wrong = [], [], []
    for argument in argv:
        override = _OVERRIDE.fullmatch(argument)
        if _CONFIG.fullmatch(argument):
            kept.append(f"--config={path}{variant}")
        elif override is None:
            kept.append(argument)
        elif fault := _override_fault(override, defaults):
            wrong.append(fault)
        elif override["value"] == "None":
            nothing.append(override["field"])
        elif override["field"] in defaults:  # else the checks miss it
            kept.append(_plain(argument, override, defaults[override["field"]]))
    return kept, nothing, wrong


def _override_fault(override: re.Match[str], defaults: dict[str, Any]) -> str | None:
    name, value = override["field"], override["value"]
    if fault := name_fault(name, RULES):
        return fault
    parser = _PARSERS.get(type(defaults.get(name)))
    if value in (None, "None") or parser is None:
        return None
    try:
        parser.parse(value)
    except (TypeError, ValueError):
        return f"config.{name} is {value!r}: give {RULES[name].allowed}"
    return None


def _plain(argument: str, override: re.Match[str], default: Any) -> str:
    """The argument with its home folder, or its list of names, written out."""
    value = override["value"] or ""
    if value.startswith("~"):
        return f"--config.{override['field']}={_at_home(value)}"
    names = isinstance(default, tuple) and {*map(type, default)} == {str}
    if names and value and value[0] not in "([":
        return f"--config.{override['field']}={tuple(value.split(','))!r}"
    return argument


def _sentence(error: BaseException) -> str:
    """The message of an error, or of the one that it wraps, on one line."""
    reason = error.args[0] if error.args else type(error).__name__
    if isinstance(reason, BaseException):
        return _sentence(reason)
    return printable(" ".join(str(reason).split()))
