"""Writes and reads a model folder: weights, ``model.json`` and a model card.

Every file has its SHA-256 digest in ``model.json``, which is compared when the folder
is read. Weights are ``.safetensors`` files, one per network; further files are what
`formats.convert` makes of them.
"""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaw_jax.experiment.run_record import RECORD
from abaw_jax.inference.model_card import model_card
from abaw_jax.json_files import unseal, write_json
from abaw_jax.path_faults import folder_fault, require_writable
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_jax.training.state import Variables
from abaw_jax.weights.loading import load_variables, save_variables

FORMAT = 1
"""Of the folder; a reader refuses a later one."""
CONTRACT = "model.json"
NETWORKS = ("image_encoder", "sound_encoder", "heads")
_OUTPUTS = {"expressions": EXPRESSIONS, "action_units": ACTION_UNITS}
_MISFITS = KeyError, TypeError, AttributeError, RecursionError

Contract = dict[str, Any]


def write_model(
    path: Path,
    contract: Contract,
    networks: Mapping[str, Variables],
    files: Mapping[str, bytes] = {},
) -> None:
    """Writes a folder, at once or not at all.

    Args:
      path: of the folder; a model folder that is there is replaced.
      contract: what ``model.json`` holds, less ``format`` and ``files``.
      networks: by name of `NETWORKS`; heads have a leading axis, one entry a network.
      files: contents of further files by name.

    Raises:
      ValueError: as of `require_place`.
      OSError: likewise.
    """
    require_place(path)
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, variables in networks.items():
        save_variables(partial / f"{name}.safetensors", variables)
    for name, content in files.items():
        (partial / name).write_bytes(content)
    (partial / "README.md").write_text(model_card(contract))
    digests = {each.name: _digest(each) for each in sorted(partial.iterdir())}
    write_json(partial / CONTRACT, {"format": FORMAT, **contract, "files": digests})
    if path.exists():
        shutil.rmtree(path)
    os.replace(partial, path)


def require_place(path: Path) -> None:
    """Refuses a path where no model folder can be written.

    Raises:
      ValueError: if it is another folder with files, a model folder with files of
        somebody else, the folder one works in, a link, or a file.
      OSError: if the system lets nothing be written there.
    """
    if path.is_symlink():
        raise ValueError(
            f"{path} is a symbolic link to {os.readlink(path)}: name the folder itself."
        )
    if path.name == ".." or Path.cwd().is_relative_to(path.resolve()):
        raise ValueError(
            f"{path} is the folder one works in, or one above another: name a folder "
            "below it, which is made."
        )
    if path.exists() and not _is_replaceable(path):
        raise ValueError(
            f"{path} is no model folder and not empty: choose another --model."
        )
    if path.exists() and (others := _files_of_others(path)):
        raise ValueError(
            f"{path / others[0]} is no file of the model, and the folder would be "
            "replaced: move it, or choose another --model."
        )
    require_writable(path.parent)


def _is_replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / CONTRACT).exists() or not any(path.iterdir()))


def _files_of_others(path: Path) -> list[str]:
    """Names in a model folder, or an empty one, of what no export has written."""
    there = {each.name for each in path.iterdir()} - {CONTRACT, "README.md"}
    try:
        written = {*read_contract(path)["files"]}
    except ValueError:  # damaged, or of another version: exporting again mends it
        written = {name for name in there if Path(name).stem in NETWORKS}
    return sorted(there - written)


def read_model(path: Path) -> tuple[Contract, dict[str, Variables]]:
    """The contract and the weights of a model folder.

    Raises:
      ValueError: if it is no model folder, of a later version, or damaged; names the
        file.
    """
    contract = read_contract(path)
    for name, reason in damaged_files(path, contract).items():
        if not name.endswith(".md"):  # people edit the card
            raise ValueError(
                f"{path / name} {reason}: export the model again, or copy the file "
                "again."
            )
    networks = {
        name: load_variables(path / f"{name}.safetensors")
        for name in NETWORKS
        if f"{name}.safetensors" in contract["files"]
    }
    return contract, networks


def damaged_files(path: Path, contract: Contract) -> dict[str, str]:
    """What is wrong with the files of a model folder, by their names."""
    found = {}
    for name, digest in contract["files"].items():
        if not (path / name).is_file():
            found[name] = "is missing"
        elif _digest(path / name) != digest:
            found[name] = "is not as it was written (SHA-256)"
    return found


def read_contract(path: Path) -> Contract:
    """What ``model.json`` holds.

    Raises:
      ValueError: as of `read_model`.
    """
    file = path / CONTRACT
    if not file.is_file():
        raise ValueError(_no_model(path))
    damaged = ValueError(f"{file} is damaged: export the model again.")
    try:
        contract = unseal(json.loads(file.read_text()))
        version = contract["format"]
    except (ValueError, *_MISFITS):
        raise damaged from None
    if version != FORMAT:
        raise ValueError(
            f"{path} has the format {version}, this version reads {FORMAT}: update "
            "abaw_jax, or export the model with this version."
        )
    try:
        labels = {name: contract["outputs"][name] for name in _OUTPUTS}
        _ = contract["config"].items(), contract["inputs"].items()
        outside = any(Path(name).name != name for name in contract["files"].keys())
    except _MISFITS:
        raise damaged from None
    if outside:
        raise damaged
    for name, wanted in _OUTPUTS.items():
        if labels[name] != list(wanted):
            raise ValueError(
                f"{path} predicts other {name.replace('_', ' ')} than this version: "
                f"{labels[name]}. Use the version that exported it."
            )
    return contract


def _no_model(path: Path) -> str:
    """What is at a path that is no model folder, and what to name."""
    if path.is_file() and (path.parent / CONTRACT).is_file():
        return f"{path} is a file of a model folder: name the folder, {path.parent}."
    if fault := folder_fault(path):
        return f"{fault}."
    command = "python -m abaw_jax.export --workdir={} --model=MODEL"
    if (path / RECORD).is_file():
        return (
            f"{path} is the folder of a run: export its network, "
            f"{command.format(shlex.quote(str(path)))}, and name MODEL."
        )
    return (
        f"{path} is no model folder, for it has no {CONTRACT}: make one with "
        f"{command.format('RUN')}."
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
