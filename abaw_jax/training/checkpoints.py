"""Checkpoints through Orbax: the latest to go on from, the best to hand on.

Model and optimizer are separate items, so a teacher is one ordinary restore of the
model. Beside them stands a JSON record: progress and the position in the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from abaw_jax.training.state import TrainState, Variables

# Below every score, and a number that JSON has.
_WITHIN_AN_EPOCH = -1e30


def _score(metrics: Mapping[str, Any]) -> float:
    return metrics["score"]


class Checkpoints:
    """The checkpoints of one run, by round number.

    Saving is asynchronous; `close` (or leaving the ``with`` block) waits for it. Orbax
    renames a checkpoint into place when it is complete, so a kill leaves either the
    whole of it or nothing that counts.
    """

    def __init__(self, directory: Path, sharding: Sharding) -> None:
        keep = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=_score, n=1)])
        self._directory = directory.absolute()
        self._sharding = sharding
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                # Without best_fn, best_step() silently answers with the latest.
                best_fn=_score,
                preservation_policy=keep,
                create=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(
        self,
        state: TrainState,
        record: Mapping[str, Any],
        score: float = _WITHIN_AN_EPOCH,
    ) -> None:
        """Starts saving ``state``; only an epoch's end has a score to be best by.

        Raises:
          ValueError: if this round was saved before; Orbax alone would say nothing.
        """
        saved = self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(state.variables),
                optimizer=ocp.args.StandardSave(state.opt_state),
                record=ocp.args.JsonSave(dict(record)),
            ),
            metrics={"score": score},
        )
        if not saved:
            raise ValueError(f"{self._directory} already holds round {state.step}.")

    def restore_latest(
        self, like: TrainState
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, or ``None``.

        One that cannot (a damaged disk, a file lost) is named, removed and the one
        before it taken: its rounds are trained again.
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

    def restore_best(self, like: Variables) -> Variables:
        """The variables with the best score.

        Raises:
          FileNotFoundError: if the run has saved nothing.
        """
        step = self._manager.best_step()
        if step is None:
            raise FileNotFoundError(f"{self._directory} holds no checkpoint.")
        return self._items(step, model=like)["model"]

    def close(self) -> None:
        """Waits until everything saved is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _restore(
        self, step: int, like: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        items = self._items(step, model=like.variables, optimizer=like.opt_state)
        record = self._manager.restore(
            step, args=ocp.args.Composite(record=ocp.args.JsonRestore())
        )["record"]
        state = TrainState(
            step=jax.device_put(jax.numpy.int32(step), self._sharding),
            params=items["model"]["params"],
            batch_stats=items["model"]["batch_stats"],
            opt_state=items["optimizer"],
        )
        return state, record

    def _items(self, step: int, **like: Any) -> Mapping[str, Any]:
        def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._sharding)

        wanted = {
            name: ocp.args.StandardRestore(jax.tree.map(abstract, tree))
            for name, tree in like.items()
        }
        return self._manager.restore(step, args=ocp.args.Composite(**wanted))
