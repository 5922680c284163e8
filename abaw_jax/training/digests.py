"""Digests of trees of arrays: the same before saving and after restoring, or damage."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from abaw_jax.training.processes import to_host


def describe_leaves(tree: Any) -> dict[str, str]:
    """Type and shape of every leaf by its name; saved trees have lists for tuples."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def tree_digest(tree: Any) -> str:
    """SHA-256 over names, types, shapes and bytes of all leaves; all processes ask."""
    arrays = jax.tree.leaves(to_host(tree))
    with ThreadPoolExecutor() as pool:  # hashing runs outside the interpreter lock
        each = pool.map(_array_digest, arrays)
        lines = zip(describe_leaves(tree).items(), each, strict=True)
        return hashlib.sha256(repr(sorted(lines)).encode()).hexdigest()


def _array_digest(array: Any) -> str:
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()
