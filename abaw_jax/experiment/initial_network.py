"""The network that training starts from: a fresh one, or another run's (train.init).

What has the same name and shape is taken over; the rest, as a head of other classes or
the first layer on other features, starts fresh and is named.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from abaw_jax.report import console
from abaw_jax.training.checkpoints import load_network
from abaw_jax.training.state import Variables, take_member
from abaw_jax.weights.loading import load_variables

_NETWORK, _EXPORTED = Path("networks", "0"), "heads.safetensors"

_SHOWN = 6


def has_network(folder: Path) -> bool:
    """True if training can start from what is in a folder."""
    return (folder / _NETWORK).is_dir() or (folder / _EXPORTED).is_file()


@dataclass(frozen=True)
class InitialNetwork:
    """Another run's network, or none.

    Attributes:
      source: where it was read, for messages.
      arrays: by path, ``params/…`` and ``batch_stats/…``; empty for a fresh start.
    """

    source: str
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: str | None) -> "InitialNetwork":
        """Reads the first network of a run's stage, or an exported model's heads.

        Raises:
          ValueError: if there is none, or it is damaged.
        """
        if not path:
            return cls("", {})
        folder = Path(path).expanduser()
        if (folder / _NETWORK).is_dir():
            found = load_network(folder / _NETWORK)
        elif has_network(folder):
            found = take_member(load_variables(folder / _EXPORTED), 0)
        else:
            raise ValueError(no_network(path))
        return cls(str(folder), _flat(found))

    @property
    def made_from(self) -> dict[str, Any]:
        """For a stage's record, which names no path: a run may be moved."""
        if not self.arrays:
            return {}
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.arrays[name]).tobytes())
        return {"init": digest.hexdigest()[:16]}

    def start(self, fresh: Variables) -> Variables:
        """The fresh variables of a member with all that fits taken over.

        Raises:
          ValueError: if nothing fits.
        """
        if not self.arrays:
            return fresh
        arrays = _flat(fresh)
        taken = {
            name: found
            for name, found in self.arrays.items()
            if name in arrays and arrays[name].shape == found.shape
        }
        if not taken:
            raise ValueError(
                f"config.train.init: nothing in {self.source} has the name and shape "
                "of a part of this network: give the heads and streams of that run."
            )
        return traverse_util.unflatten_dict(
            {
                name: jax.numpy.asarray(taken.get(name, value), value.dtype)
                for name, value in arrays.items()
            }
            | {name: {} for name in fresh if not fresh[name]},
            sep="/",
        )

    def say(self, stage: str, fresh: Variables) -> None:
        """Names the parts of a member that start fresh."""
        if not self.arrays:
            return
        arrays = _flat(fresh)
        parts = {
            name.split("/", 1)[1].rpartition("/")[0]
            for name, value in arrays.items()
            if name not in self.arrays or self.arrays[name].shape != value.shape
        }
        others = _listed(sorted(parts)) if parts else "nothing"
        console.say(f"{stage}: starts from {self.source}; {others} starts fresh")


def no_network(path: str) -> str:
    """Says what ``train.init`` has to name."""
    return (
        f"config.train.init: {path} holds no network: name a stage of a finished run, "
        "as RUN/teacher, or the folder of an exported model"
    )


def _flat(variables: Any) -> dict[str, np.ndarray]:
    flat: dict[str, Any] = dict(traverse_util.flatten_dict(variables, sep="/"))
    return flat


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
