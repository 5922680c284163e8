"""Checkpoints through Orbax: the latest to go on from, and finished networks.

A run saves all its members together, the best variables so far beside the state, and a
JSON record: progress and the position in the data. When it ends, every member becomes a
folder of its own, `save_networks`, so that a teacher is one ordinary restore.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import LatestN

from abaw_jax.training.sharding import place
from abaw_jax.training.state import (
    TrainState,
    Variables,
    count_members,
    stack_members,
    take_member,
)


class Checkpoints:
    """The checkpoints of one run, by round number; two are kept.

    Saving is asynchronous; `close` (or leaving the ``with`` block) waits for it. Orbax
    renames a checkpoint into place when it is complete, so a kill leaves either the
    whole of it or nothing that counts.
    """

    def __init__(self, directory: Path, sharding: Sharding) -> None:
        self._directory = directory.absolute()
        self._sharding = sharding
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=LatestN(2), create=True
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(
        self,
        step: int,
        state: TrainState,
        best: Variables,
        record: Mapping[str, Any],
    ) -> None:
        """Starts saving what a run needs to go on after round ``step``.

        Raises:
          ValueError: if this round was saved before; Orbax alone would say nothing.
        """
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(state.variables),
                optimizer=ocp.args.StandardSave(_rest(state)),
                best=ocp.args.StandardSave(best),
                record=ocp.args.JsonSave(dict(record)),
            ),
        )
        if not saved:
            raise ValueError(f"{self._directory} already holds round {step}.")

    def restore_latest(
        self, like: TrainState
    ) -> tuple[TrainState, Variables, dict[str, Any]] | None:
        """State, best variables and record of the newest readable checkpoint.

        One that cannot be read (a damaged disk, a file lost) is named, removed and the
        one before it taken: its rounds are trained again.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._restore(step, like)
            except (ValueError, OSError, KeyError) as error:
                logging.warning(
                    "The checkpoint %s cannot be read (%s); going on from the one "
                    "before it.",
                    self._directory / str(step),
                    str(error).splitlines()[0],
                )
                self._manager.delete(step)
        return None

    def close(self) -> None:
        """Waits until everything saved is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _restore(
        self, step: int, like: TrainState
    ) -> tuple[TrainState, Variables, dict[str, Any]]:
        wanted = {
            "model": like.variables,
            "optimizer": _rest(like),
            "best": like.variables,
        }
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{
                    name: ocp.args.StandardRestore(_abstract(tree, self._sharding))
                    for name, tree in wanted.items()
                },
                record=ocp.args.JsonRestore(),
            ),
        )
        state = TrainState(**items["model"], **items["optimizer"])
        return state, items["best"], items["record"]


def save_networks(directory: Path, variables: Variables) -> None:
    """Writes every member of ``variables`` ``[K, ...]`` into ``directory/<k>``.

    What is there already stays: a network is written whole or not at all.
    """
    with _checkpointer() as checkpointer:
        for index in range(count_members(variables)):
            path = directory.absolute() / str(index)
            if not path.exists():
                checkpointer.save(path, take_member(variables, index))


def load_networks(
    directory: Path, like: Variables, members: int, sharding: Sharding
) -> Variables:
    """Reads what `save_networks` wrote, ``[K, ...]`` per leaf.

    Args:
      directory: of a finished run.
      like: shapes of one member.
      members: how many there are.
      sharding: of the result.

    Raises:
      FileNotFoundError: if a network is not there.
    """
    replicated = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _checkpointer() as checkpointer:
        found = [
            checkpointer.restore(
                directory.absolute() / str(index), _abstract(like, replicated)
            )
            for index in range(members)
        ]
    return place(stack_members(found), sharding)


@contextmanager
def _checkpointer() -> Iterator[ocp.StandardCheckpointer]:
    checkpointer = ocp.StandardCheckpointer()
    try:
        yield checkpointer
        checkpointer.wait_until_finished()
    finally:
        checkpointer.close()


def _rest(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "opt_state": state.opt_state}


def _abstract(tree: Any, sharding: Sharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
    )
