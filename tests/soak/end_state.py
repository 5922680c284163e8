"""The end state of a run: a digest of everything that has to be the same bits.

Files are compared byte by byte, networks by their arrays: Orbax's files around these
hold times and random names. Checkpoints and TensorBoard files differ with every stop.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from abaw_jax.inference.verification import verify
from abaw_jax.training.networks import load_network
from tests.soak.small_run import TRAINED

State = dict[str, str]
"""SHA-256 by name; the scores as they are."""


def read_state(run: Path) -> State:
    """The state of a finished run; that of a network is still that of its files."""
    state = {name: _digest(run / name) for name in _compared(run)}
    scores = json.loads((run / "result.json").read_text())
    for of_pictures in ("files", "digest"):
        del scores[of_pictures]
    state["scores in result.json"] = json.dumps(scores, sort_keys=True)
    for name in _networks(run):
        files = sorted(path for path in (run / name).rglob("*") if path.is_file())
        digests = [f"{path.relative_to(run)} {_digest(path)}" for path in files]
        state[name] = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return state


def write_arrays(run: Path, target: Path) -> None:
    """Writes the digests of the arrays of all networks; uses a device of JAX."""
    found = {name: _network_digest(run / name) for name in _networks(run)}
    target.write_text(json.dumps(found))


def write_damaged(run: Path, target: Path) -> None:
    """Writes what ``python -m abaw_jax.verify`` names; uses a device of JAX."""
    named = [path for path, reason in verify(run) if reason]
    target.write_text(json.dumps([path.relative_to(run).as_posix() for path in named]))


def _networks(run: Path) -> list[str]:
    names = [f"{stage}/networks/0" for stage in TRAINED]
    return [name for name in names if (run / name).is_dir()]


def differences(found: State, reference: State) -> Iterator[tuple[str, str]]:
    """What differs between two end states: names, and how."""
    for name in sorted(found.keys() | reference.keys()):
        if name not in reference:
            yield name, "is left over"
        elif name not in found:
            yield name, "is missing"
        elif found[name] != reference[name]:
            yield name, "differs"


def _compared(run: Path) -> Iterator[str]:
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run)
        if path.is_file() and not _is_free(name):
            yield name.as_posix()


def _is_free(name: Path) -> bool:
    """True if a file may differ: but temporary ones may not be there at all."""
    if any("tmp" in part or part.endswith(".partial") for part in name.parts):
        return False
    if "networks" in name.parts:
        return name.suffix != ".json" or name.parent.name != "networks"
    return bool({"checkpoints", "events"} & {*name.parts})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _network_digest(path: Path) -> str:
    """Of names, types, shapes and values, apart from the package's own digests."""
    digest = hashlib.sha256()
    for name, leaf in jax.tree_util.tree_leaves_with_path(load_network(path)):
        array = np.asarray(leaf)
        digest.update(
            f"{jax.tree_util.keystr(name)} {array.dtype}{array.shape}".encode()
        )
        digest.update(array.tobytes())
    return digest.hexdigest()
