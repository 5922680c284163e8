"""Checkpoints (Orbax): the latest state of a run.

A run saves all its members together, the best variables so far beside the state, and a
JSON record: progress and the position in the data.

Orbax does not notice every damaged byte. The digests of all arrays are therefore saved
too, in the record of a checkpoint, and compared with what is read.
"""

import itertools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import LatestN

from abaw_jax.disk_space import EXPLAINED, explained, require_space
from abaw_jax.json_files import (
    json_digest,
    seal,
    unseal,
)
from abaw_jax.training.differences import differences
from abaw_jax.training.digests import describe_leaves, tree_digest
from abaw_jax.training.orbax_io import (
    abstract,
    remove_unfinished,
    restored,
    size_on_disk,
)
from abaw_jax.training.processes import is_first, wait_until
from abaw_jax.training.state import (
    TrainState,
    Variables,
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
        self._size = 0
        remove_unfinished(self._directory)
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=LatestN(2), create=True
            ),
        )

    def __enter__(self) -> "Checkpoints":
        logging.get_absl_logger().addFilter(EXPLAINED)
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.close()
        finally:
            logging.get_absl_logger().removeFilter(EXPLAINED)

    def save(
        self,
        step: int,
        state: TrainState,
        best: Variables,
        record: Mapping[str, Any],
    ) -> None:
        """Starts saving what a run needs to go on after round ``step``.

        Raises:
          OSError: if this checkpoint or the one before does not fit on the disk.
          ValueError: if this round was saved before; Orbax alone would say nothing.
        """
        self._size = size_on_disk((state, best))
        require_space(self._directory, self._size, "a checkpoint")
        items = {"model": state.variables, "optimizer": _rest(state), "best": best}
        digests = {
            "shapes": _shapes_digest(items),
            "arrays": {name: tree_digest(tree) for name, tree in items.items()},
        }
        with self._explained():
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{
                        name: ocp.args.StandardSave(tree)
                        for name, tree in items.items()
                    },
                    record=ocp.args.JsonSave(seal({**record, "digests": digests})),
                ),
            )
        if not saved:
            raise ValueError(f"{self._directory} already holds round {step}.")

    def restore_latest(
        self, like: TrainState
    ) -> tuple[TrainState, Variables, dict[str, Any]] | None:
        """State, best variables and record of the newest sound checkpoint.

        One that cannot be read or is not as it was saved is renamed to
        ``<step>.unreadable``, so that its round can be saved again, and the one before
        it is taken. Nothing is deleted.

        Raises:
          OSError: if there is none yet and no space for the first ones.
          ValueError: if a checkpoint holds arrays of other names or shapes, as another
            version of Optax would save; or if there are checkpoints and all are
            damaged.
        """
        self._manager.wait_until_finished()  # a run that is rolled back saved just now
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            # Two are kept while a third is written; then there are the networks.
            require_space(self._directory, 4 * size_on_disk(like), "this training")
        for step in steps:
            self._check_structure(step, like)
            found, reason = restored(partial(self._restore, step, like))
            if found is None:
                self._set_aside(step, reason)
                continue
            state, best, record = found
            digests = record.pop("digests", {}).get("arrays", {})
            if changed := _changed(_items(state) | {"best": best}, digests):
                self._set_aside(step, f"is damaged: its {changed} is not as saved")
                continue
            return found
        if aside := [*self._directory.glob("*.unreadable*")]:
            raise ValueError(
                f"None of the {len(aside)} checkpoints in {self._directory} can be "
                "read; they were renamed and are kept. Restore them from a copy, or "
                f"delete {self._directory.parent} to start this stage again."
            )
        return None

    def _check_structure(self, step: int, like: TrainState) -> None:
        """Refuses a checkpoint of another network or optimizer."""
        wanted, handler, found = _items(like), ocp.PyTreeCheckpointHandler(), {}
        for item in wanted:
            try:
                metadata = handler.metadata(
                    epath.Path(self._directory, str(step), item)
                )
            except Exception:  # restoring says what is damaged
                return
            found[item] = describe_leaves(metadata.tree)
        if self._saved_shapes(step) == _shapes_digest(wanted):
            return  # metadata that say otherwise are damaged
        expected = {item: describe_leaves(tree) for item, tree in wanted.items()}
        if different := list(differences(found, expected)):
            raise ValueError(
                f"The checkpoint {self._directory / str(step)} is of another network "
                f"or optimizer: {'; '.join(different[:5])}. Go on with the versions of "
                f"Optax and Flax that saved it, or delete {self._directory.parent} to "
                "start this stage again."
            )

    def _saved_shapes(self, step: int) -> str | None:
        """Digest of names and shapes of the arrays as they were saved, if known."""
        try:
            return self._read_record(step)["digests"]["shapes"]
        except Exception:  # restoring says what is damaged
            return None

    def _read_record(self, step: int) -> dict[str, Any]:
        wanted = ocp.args.Composite(record=ocp.args.JsonRestore())
        return unseal(self._manager.restore(step, args=wanted)["record"])

    def _set_aside(self, step: int, reason: str) -> None:
        path = self._directory / str(step)
        names = (f"{step}.unreadable{n or ''}" for n in itertools.count())
        aside = next(p for p in map(path.with_name, names) if not p.exists())
        logging.warning(
            "The checkpoint %s %s. It is renamed to %s, and training continues from "
            "the one before it.",
            path,
            reason,
            aside.name,
        )
        if is_first():
            path.rename(aside)
        wait_until(aside.exists)
        self._manager.reload()

    def close(self) -> None:
        """Waits until everything saved is on disk.

        Raises:
          OSError: if it does not fit.
        """
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.close()

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self._directory, self._size, "a checkpoint")

    def _restore(
        self, step: int, like: TrainState
    ) -> tuple[TrainState, Variables, dict[str, Any]]:
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{
                    name: ocp.args.StandardRestore(abstract(tree, self._sharding))
                    for name, tree in _items(like).items()
                }
            ),
        )
        state = TrainState(**items["model"], **items["optimizer"])
        return state, items["best"], self._read_record(step)


def _changed(items: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """The name of an item whose digest is not the saved one, if there is any."""
    for name, digest in digests.items():
        if tree_digest(items[name]) != digest:
            return name
    return ""


def _items(like: TrainState) -> dict[str, Any]:
    """The arrays of a checkpoint by the name of their folder."""
    return {"model": like.variables, "optimizer": _rest(like), "best": like.variables}


def _shapes_digest(items: Mapping[str, Any]) -> str:
    return json_digest({name: describe_leaves(tree) for name, tree in items.items()})


def _rest(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "opt_state": state.opt_state}
