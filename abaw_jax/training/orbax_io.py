"""What checkpoints and networks share of reading and writing with Orbax."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding

from abaw_jax.system_limits import advice_on, in_a_sentence
from abaw_jax.training.processes import any_process, is_first


def restored(restore: Callable[[], Any]) -> tuple[Any, str]:
    """What Orbax restores; or ``None``, on all processes, and why it did not.

    Raises:
      OSError: on all processes, if the system refused to read; says what to do.
    """
    refused = None
    try:
        found, reason = restore(), ""
    except Exception as error:  # Orbax raises bare ones for truncated arrays
        found, reason = None, f"cannot be read ({first_line(error)})"
        if advice := advice_on(error):
            refused = OSError(in_a_sentence(error, advice))
    if any_process(refused is not None):
        raise refused or OSError("The system refused another process to read.")
    if any_process(found is None):
        return None, reason or "cannot be read by another process"
    return found, reason


def first_line(error: Exception) -> str:
    """What an error says, without what follows; Orbax lists all its arguments."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def remove_unfinished(directory: Path) -> None:
    """Removes what a killed run left half written; Orbax names each anew."""
    if is_first():
        for path in directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)


_OVERHEAD, _METADATA = 1.1, 10**6
"""Of files over the arrays in them: a share, and bytes."""


def size_on_disk(tree: Any) -> int:
    """Bytes that the arrays of a tree, or of their shapes, take in files at most."""
    arrays = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    return round(_OVERHEAD * arrays) + _METADATA


def abstract(tree: Any, sharding: Sharding) -> Any:
    """Shapes and types of a tree, with where its arrays are to be put."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
    )
