"""The record of a run, ``run.json``: its configuration, and where its inputs are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.json_files import read_json, write_json
from abaw_jax.path_faults import folder_fault
from abaw_jax.training.processes import is_first

RECORD = "run.json"
"""Name of the file, by which the folder of a run is known."""


def write_record(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    """Writes the record of a run that begins or continues."""
    if is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        record = {"config": config.to_dict(), "inputs": str(inputs.absolute())}
        write_json(workdir / RECORD, record)


def read_record(workdir: Path) -> tuple[ConfigDict, Path]:
    """The configuration of a run and the folder of its encoders and features.

    Raises:
      ValueError: if there is no record; says how to get one.
    """
    if fault := folder_fault(workdir):
        raise ValueError(f"{fault}.")
    record = read_json(workdir / RECORD)
    if record is None or "config" not in record:
        raise ValueError(
            f"{workdir} has no readable {RECORD}: name the folder of a run "
            "(--workdir). If it is one of an earlier version, run its training command "
            "once more, which writes the record and trains nothing again."
        )
    return as_config(record["config"]), Path(record["inputs"])


def as_config(fields: Mapping[str, Any]) -> ConfigDict:
    """A configuration from JSON, whose lists were tuples."""
    return ConfigDict({name: _restored(value) for name, value in fields.items()})


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _restored(each) for name, each in value.items()}
    return tuple(map(_restored, value)) if isinstance(value, list) else value
