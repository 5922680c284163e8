"""The training loop, shared by encoders, teachers and students, one or many at once.

It dispatches chunk n to the device before it writes the metrics of chunk n - 1, so an
accelerator never waits for the log. A checkpoint ties together state, place in the
data, progress and length of the log; a run killed anywhere goes on from it and ends
with the same bits.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from abaw_jax.training.checkpoints import Checkpoints
from abaw_jax.training.curriculum import Progress, advance, chunk_weights
from abaw_jax.training.job import (
    Callback,
    Epoch,
    Fitted,
    Job,
    Outcome,
    Position,
    Validation,
)
from abaw_jax.training.metrics_log import MetricsLog
from abaw_jax.training.networks import save_networks
from abaw_jax.training.nonfinite import (
    RolledBack,
    Rows,
    Skips,
    mean_of_finite,
    sum_of_finite,
)
from abaw_jax.training.processes import gather_values, is_first, to_host
from abaw_jax.training.sharding import put_on_devices
from abaw_jax.training.state import TrainState, Variables
from abaw_jax.training.steps import select
from abaw_jax.training.stopping import Stopped, deferred, requested


def fit(state: TrainState, job: Job, directory: Path, callback: Callback) -> Fitted:
    """Trains until the limits and returns each member's network of its chosen epoch.

    Args:
      state: fresh; replaced by the newest checkpoint in ``directory`` if there is one.
      job: what to train with.
      directory: gets ``checkpoints/``, ``metrics.jsonl`` and ``networks/<member>``.
      callback: called after every chunk and epoch.

    Raises:
      FloatingPointError: if no member has a finite loss and finite scores; the last
        checkpoint stays.
      OSError: if the disk has no space for the checkpoints.
      Stopped: after a signal to any process, once a checkpoint is complete.
      ValueError: if the checkpoint was trained on other rounds than the job's.
    """
    place, log = directory / "checkpoints", directory / "metrics.jsonl"
    with deferred():
        with Checkpoints(place, job.shardings.members) as checkpoints:
            run = _train(state, job, checkpoints, log, callback)
        save_networks(directory / "networks", run.kept)
    return Fitted(run.kept, run.outcomes(), run.log_checksum())


def _train(
    state: TrainState,
    job: Job,
    checkpoints: Checkpoints,
    log: Path,
    callback: Callback,
) -> "_Run":
    """A run to its end; one that is rolled back begins again in another order."""
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state
    )
    order = 0
    while True:
        run = _Run(job, checkpoints, callback)
        run.start(state, checkpoints.restore_latest(like), log, order)
        try:
            run.train()
            return run
        except RolledBack as reason:
            logging.warning("%s", reason)
            order = run.order + 1
        finally:
            run.close()


class _Run:
    """A run under way: the few things that change, and the three times they do."""

    def __init__(self, job: Job, checkpoints: Checkpoints, callback: Callback) -> None:
        self.state: TrainState
        self.kept: Variables
        self.order = 0
        self._saved_order = 0
        self._job = job
        self._checkpoints = checkpoints
        self._callback = callback
        self._position = Position()
        self._members = [Progress() for _ in job.losses]
        self._saved_at = time.monotonic()
        # On a CPU the next chunk would only take the processor from this one, and a
        # signal would wait for both.
        self._ahead = job.shardings.platform != "cpu"

    def start(self, state: TrainState, saved: Any, log: Path, order: int) -> None:
        """Takes the checkpoint up, or copies the fresh state."""
        self._saved_order = saved[2].get("order", 0) if saved is not None else 0
        self.order = max(order, self._saved_order)
        self._iterator = self._job.chunks.in_order(self.order)
        if saved is not None:
            self.state, self.kept, record = saved
            self._position = Position(**record["position"])
            self._members = [Progress.from_json(each) for each in record["members"]]
            self._job.require_rounds(record["rounds"], log.parent)
            self._iterator.set_state(record["data"])
        else:
            # Steps donate their state; the caller's arrays may be in use elsewhere, as
            # an imported encoder is that teacher and student both start from.
            self.state = put_on_devices(_copy(state), self._job.shardings.members)
            self.kept = _copy(self.state.evaluated)
        # All processes have the same values; the first writes them.
        written = self._position.log_offset, self._position.log_checksum
        self._log = MetricsLog(log, *written) if is_first() else None
        if saved is not None and any(self._active()):
            self._callback(self._position, {})

    def train(self) -> None:
        """Epochs, until no member goes on."""
        while any(self._active()):
            self._train_epoch()
            self._end_epoch()
            _, signal = self._agree()
            if signal and any(self._active()):
                raise self._stopped(signal)

    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcome of each member, once all have ended."""
        return tuple(self._outcome(each) for each in self._members)

    def log_checksum(self) -> int | None:
        """Checksum of the metrics log, in the process that writes it."""
        return None if self._log is None else self._log.checksum

    def _outcome(self, member: Progress) -> Outcome:
        last = self._job.keep == "last"
        chosen = member.epoch if last else member.best_epoch
        limit = "epochs" if member.epoch >= self._job.limits.epochs else "patience"
        ended = "not finite" if member.failed else limit
        return Outcome(chosen, member.epoch, ended, member.skipped)

    def close(self) -> None:
        """Stops reading ahead and closes the log."""
        self._iterator.close()
        if self._log is not None:
            self._log.close()

    def _active(self) -> list[bool]:
        limits = self._job.limits
        return [
            not each.failed
            and each.epoch < limits.epochs
            and each.stale_epochs() < limits.patience
            for each in self._members
        ]

    def _train_epoch(self) -> None:
        chunks = self._job.schedule.chunks_per_epoch
        pending = None
        while self._position.chunk < chunks:
            chunk = next(self._iterator)
            terms = self._dispatch(chunk)
            self._write(pending)
            pending = terms, {name: item["row"] for name, item in chunk.items()}
            self._position = replace(self._position, chunk=self._position.chunk + 1)
            if not self._ahead:
                self._write(pending)
                pending = None
            self._callback(self._position, {})
            late, signal = self._agree()
            # The end of the epoch saves this very round, with its scores.
            if (late or signal) and self._position.chunk < chunks:
                self._write(pending)
                pending = None
                self._save()
                if signal:
                    raise self._stopped(signal)
        self._write(pending)

    def _agree(self) -> tuple[bool, int]:
        """If a checkpoint is due by the first process's clock, and anyone's signal."""
        since = time.monotonic() - self._saved_at
        late = since > self._job.limits.checkpoint_seconds
        values = gather_values(late, requested())
        return bool(values[0, 0]), int(values[:, 1].max())

    def _stopped(self, signal: int) -> Stopped:
        done = self._position.chunk * self._job.schedule.rounds_per_chunk
        within = f"round {done} of epoch {self._position.epoch + 1}"
        place = within if done else f"epoch {self._position.epoch}"
        return Stopped(signal, f"all is saved up to {place}")

    def _dispatch(self, chunk: Mapping[str, Any]) -> Mapping[str, jax.Array]:
        """Hands the device a chunk of rounds and does not wait for it."""
        job, schedule, shardings = self._job, self._job.schedule, self._job.shardings
        done = self._position.epoch * schedule.rounds_per_epoch
        done += self._position.chunk * schedule.rounds_per_chunk
        each = [
            chunk_weights(
                settings,
                progress,
                first_round=done,
                rounds=schedule.rounds_per_chunk,
                rounds_per_epoch=schedule.rounds_per_epoch,
                epochs=job.limits.planned_epochs or job.limits.epochs,
            )
            for settings, progress in zip(job.losses, self._members, strict=True)
        ]
        weights = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *each)
        active = put_on_devices(np.array(self._active()), shardings.members)
        weights = put_on_devices(weights, shardings.weights)
        chunk = shardings.place_rounds(chunk, schedule.batch_sizes)
        self.state, terms = job.step(
            self.state, job.teacher, job.table, chunk, weights, job.keys, active
        )
        return terms

    def _write(self, pending: tuple[Mapping[str, jax.Array], Rows] | None) -> None:
        """Logs a finished chunk; waits for it, while the next one already runs."""
        if pending is None:
            return
        terms, rows = pending
        skips = Skips.of(to_host(terms))
        values = {k: v.astype(np.float64) for k, v in skips.terms.items()}
        losses = [each for name, each in values.items() if name.endswith("/loss")]
        loss = np.sum(losses, axis=0)  # [R, K]
        for k, active in enumerate(self._active()):
            if not active:
                continue
            skipped = self._count_skipped(k, skips, rows)
            if self._members[k].failed:
                continue
            means = {name: mean_of_finite(each[:, k]) for name, each in values.items()}
            chunk = self._position.chunk
            self._log_member(k, {"chunk": chunk, **means, **skipped})
            total = self._members[k].loss_sum + sum_of_finite(loss[:, k])
            self._members[k] = replace(self._members[k], loss_sum=total)

    def _count_skipped(self, k: int, skips: Skips, rows: Rows) -> dict[str, int]:
        """Follows the policy on updates that were not finite; what the log says."""
        policy, before = self._job.nonfinite, self._members[k]
        self._members[k], longest = skips.count(k, before)
        new = self._members[k].skipped - before.skipped
        if not new:
            return {}
        reasons = [*skips.describe(k, rows, policy.name_rows)]
        place = f"epoch {self._position.epoch + 1}, chunk {self._position.chunk}"
        if policy.ends(longest, self.order - self._saved_order):
            self._fail(k, reasons[0])
            return {"skipped": new}
        if policy.policy == "rollback":
            raise RolledBack(
                f"In {place} {reasons[0]}: training goes back to the last checkpoint, "
                f"and on with order {self.order + 1} of the batches."
            )
        for reason in reasons:
            logging.warning("In %s %s: the update was skipped.", place, reason)
        return {"skipped": new}

    def _fail(self, k: int, reason: str) -> None:
        """Stops a member with a value that is not finite; the others go on."""
        self._members[k] = replace(self._members[k], failed=True)
        place = f"epoch {self._position.epoch + 1}"
        if all(each.failed for each in self._members):
            raise FloatingPointError(
                f"In {place} {reason}: lower the learning rate, or look for labels out "
                "of range with `python -m abaw_jax.prepare --check`. The last "
                "checkpoint stays."
            )
        kept = self._outcome(self._members[k]).chosen_epoch
        logging.warning(
            "Member %d stops: in %s %s. %s is kept.",
            *(k, place, reason),
            f"Its network of epoch {kept}" if kept else "Its untrained network",
        )

    def _end_epoch(self) -> None:
        """Validates, keeps what is better, logs and saves."""
        rounds, active = self._job.schedule.rounds_per_epoch, self._active()
        validations = self._job.validate(self.state.evaluated)
        ended: dict[int, Epoch] = {}
        keep = np.zeros(len(active), bool)
        for k in np.flatnonzero(active).tolist():
            before, validation = self._members[k], validations[k]
            if not _is_finite(validation):
                self._fail(k, "a validation score is not finite")
                continue
            self._members[k] = advance(before, validation.selection, validation.tasks)
            ended[k] = Epoch(before.loss_sum / rounds, validation)
            self._log_member(k, {"loss": ended[k].loss, **validation.shown})
            improved = self._members[k].best_epoch > before.best_epoch
            keep[k] = improved or self._job.keep == "last"
        if keep.any():
            self.kept = _keep(keep, self.state.evaluated, self.kept)
        self._position = Position(self._position.epoch + 1, 0)
        self._save()
        self._callback(self._position, ended)

    def _log_member(self, k: int, values: Mapping[str, Any]) -> None:
        """One line; a run of one does not number its only member."""
        if self._log is not None:
            named = {"member": k} if len(self._members) > 1 else {}
            self._log.write({"epoch": self._position.epoch + 1, **named, **values})

    def _save(self) -> None:
        if self._log is not None:
            written = {
                "log_offset": self._log.offset,
                "log_checksum": self._log.checksum,
            }
            self._position = replace(self._position, **written)
        schedule, position = self._job.schedule, self._position
        rounds = position.epoch * schedule.rounds_per_epoch
        rounds += position.chunk * schedule.rounds_per_chunk
        record = {
            "position": asdict(position),
            "members": [each.to_json() for each in self._members],
            "rounds": self._job.chunks.made_from,
            "data": self._iterator.get_state(),
            "order": self.order,
        }
        self._checkpoints.save(rounds, self.state, self.kept, record)
        self._saved_at, self._saved_order = time.monotonic(), self.order


def _is_finite(validation: Validation) -> bool:
    """True if the scores that select an epoch are finite."""
    return bool(np.isfinite([validation.selection, *validation.tasks.values()]).all())


_copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
_keep = jax.jit(select, donate_argnums=2)
