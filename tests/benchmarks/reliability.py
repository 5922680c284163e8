"""What digests and checks cost: opening a store, saving a checkpoint, training a round.

    python -m tests.benchmarks.reliability

Each is timed in turns with and without, at full size: a store of 2.66 million frames,
the heads of the paper with 256 rows a batch.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from abaw_jax.profiling.workloads import STEPS
from abaw_jax.store.reader import Store, open_store
from abaw_jax.tasks import SETS
from abaw_jax.training import checkpoints, updates
from abaw_jax.training.processes import gather_values
from abaw_jax.training.sharding import over_all_devices
from configs import student
from tests.benchmarks.timing import Comparison, Work, compare, show
from tests.support.large_store import write_large_store

REPETITIONS = 15


def opening(folder: Path) -> Comparison:
    """Opens a store and reads all labels and frame numbers."""
    write_large_store(folder)

    def read(verify: Any) -> Work:
        return lambda: _read_all(open_store(folder, verify))

    return compare(
        "opening",
        "2.66 million frames: manifest, labels and frame numbers, without and with "
        "comparing them",
        target=0.0,
        theirs=read("never"),
        ours=read("first_use"),
        repetitions=REPETITIONS,
    )


def _read_all(store: Store) -> int:
    for name in SETS:
        for split in ("train", "validation"):
            store.labels(name, split)
    for subject in range(len(store.subjects)):
        store.numbers(subject)
    return 1


def saving(folder: Path, state: Any) -> Comparison:
    """Saves a checkpoint to its end, without and with digests of its arrays."""
    shardings = over_all_devices()
    steps = iter(range(1, 1000))

    def save(digest: Callable[[Any], str], place: Path) -> Work:
        def work() -> int:
            with (
                mock.patch.object(checkpoints, "tree_digest", digest),
                checkpoints.Checkpoints(place, shardings.members) as opened,
            ):
                opened.save(next(steps), state, state.evaluated, {})
            return 1

        return work

    return compare(
        "checkpoint",
        "heads of the paper with Adam's moments, saved and complete, without and with "
        "digests",
        target=1 / 1.1,
        theirs=save(lambda tree: "", folder / "without"),
        ours=save(checkpoints.tree_digest, folder / "with"),
        repetitions=REPETITIONS,
    )


def a_round() -> tuple[Comparison, Any]:
    """A student's rounds, with and without looking for values that are not finite."""
    config = student.get_config()
    chunks: dict[bool, Work] = {}
    states: dict[bool, Any] = {}
    for checked in (False, True):
        finite = updates._is_finite if checked else lambda tree: jnp.bool_(True)
        with mock.patch.object(updates, "_is_finite", finite):
            workload = STEPS["heads"](config, over_all_devices(), 20_000)
            state, *rest = workload.draw()
            state, _ = workload.call(state, *rest)  # compiles
        states[checked] = state

        def work(
            checked: bool = checked, workload: Any = workload, rest: Any = rest
        ) -> int:
            states[checked], terms = workload.call(states[checked], *rest)
            jax.block_until_ready(terms)
            if checked:
                gather_values(False, 0)  # if anybody was told to stop
            return workload.rounds

        chunks[checked] = work
    found = compare(
        "round",
        "a student's round with a live teacher, without and with the checks of values "
        "and signals",
        target=1 / 1.01,
        theirs=chunks[False],
        ours=chunks[True],
        repetitions=REPETITIONS,
    )
    return found, states[True]


def main() -> None:
    """Shows all three."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trained, state = a_round()
        found = [opening(folder / "store"), saving(folder / "saved", state), trained]
    show("Without and with (theirs and ours)", found)


if __name__ == "__main__":
    main()
