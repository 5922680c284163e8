"""Compares saved checkpoints and networks with their digests, whatever their shapes."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from abaw_jax.json_files import read_json, unseal
from abaw_jax.training.digests import tree_digest


def network_damage(network: Path) -> str:
    """What is wrong with a network of `save_networks`; "" if nothing is.

    Args:
      network: its folder; the digest is in ``<folder>.json``.
    """
    digest = read_json(network.with_name(f"{network.name}.json"))
    if digest is None:
        return "its digest is missing or damaged"
    return _damage(network, digest["network"])


def checkpoint_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; "" if nothing is, None if it has no digests."""
    try:
        record = unseal(json.loads((checkpoint / "record" / "metadata").read_text()))
    except (OSError, ValueError):
        return "its record is damaged"
    if "digests" not in record:
        return None
    for name, digest in record["digests"]["arrays"].items():
        if reason := _damage(checkpoint / name, digest):
            return f"its {name} {reason}"
    return ""


def _damage(folder: Path, digest: str) -> str:
    try:
        tree = _read_arrays(folder)
    except Exception:  # Orbax raises bare ones for truncated arrays
        return "cannot be read"
    return "" if tree_digest(tree) == digest else "is not as it was written"


def _read_arrays(folder: Path) -> Any:
    """The tree that Orbax saved, on the host, wherever its arrays were."""
    path, handler = epath.Path(folder.absolute()), ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(path).tree
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=on_host))
