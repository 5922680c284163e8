"""The record of a run, ``run.json``: configuration, inputs, and where it runs."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from abaw_jax.json_files import read_json, write_json
from abaw_jax.path_faults import folder_fault
from abaw_jax.training.jax_settings import matmul_precision
from abaw_jax.training.processes import is_first

RECORD = "run.json"
"""Name of the file, by which the folder of a run is known."""


def write_record(config: ConfigDict, workdir: Path, inputs: Path) -> None:
    """Writes the record of a run that begins or continues."""
    if is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        record = {
            "config": config.to_dict(),
            "inputs": str(inputs.absolute()),
            "environment": _environment(),
        }
        write_json(workdir / RECORD, record)


def _environment() -> dict[str, Any]:
    """What else a result may depend on, for the people who read the record."""
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{each: version(each) for each in ("jax", "flax", "numpy")},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "matmul_precision": matmul_precision() or "default",
    }


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
