"""Runs of several processes: joining, common decisions, collection of results.

All run the same program over one mesh and share a file system. What one alone does
(writing logs, preparing data) the first does; the others wait for its files.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

SECONDS_BETWEEN_LOOKS = 0.2


def join(cluster: str) -> None:
    """Joins the other processes of a run, before anything touches a device.

    Args:
      cluster: "HOST:PORT,INDEX/COUNT" names the first process and this one's place;
        "auto" finds both out from SLURM, a TPU slice, Kubernetes or MPI.

    Raises:
      ValueError: if ``cluster`` is neither, or no cluster is found.
    """
    # Needed where processes compute on CPUs; others do not look at it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if cluster == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                f"--join=auto found no cluster to join ({error}); start with "
                "launch/run.sh --processes N, or name one: --join=HOST:PORT,INDEX/COUNT"
            ) from None
        return
    parts = re.fullmatch(r"(\S+:\d+),(\d+)/(\d+)", cluster)
    if parts is None or not int(parts[2]) < int(parts[3]):
        raise ValueError(
            f"--join={cluster} is neither auto nor HOST:PORT,INDEX/COUNT with INDEX "
            "from 0"
        )
    jax.distributed.initialize(parts[1], int(parts[3]), int(parts[2]))


def is_first() -> bool:
    """True for the process that writes files."""
    return jax.process_index() == 0


def process_slice(items: int) -> range:
    """Indices of the items that this process works on, where each does some."""
    return range(jax.process_index(), items, jax.process_count())


def wait_until(ready: Callable[[], bool]) -> None:
    """Returns when another process has done something that shows in a file.

    A barrier on the devices would give up long before a release is prepared.
    """
    while not ready():
        time.sleep(SECONDS_BETWEEN_LOOKS)


def gather_values(*values: int) -> np.ndarray:
    """The values of every process, ``[P, N]``, on every process; all of them must ask.

    What depends on a clock, a disk or a signal differs between processes, and a
    collective operation that only some of them enter never ends: all have to decide
    from the same values.
    """
    if jax.process_count() == 1:
        return np.array([values])
    return multihost_utils.process_allgather(np.array(values, np.int32))


def any_process(decision: bool) -> bool:
    """True on every process if it is on one; all of them must ask."""
    if jax.process_count() == 1:
        return decision
    return bool(multihost_utils.process_allgather(np.array(decision)).any())


def to_host(tree: Any) -> Any:
    """NumPy arrays of a tree; every process gets all of them and must ask for them."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return jax.tree.map(
        lambda leaf: np.asarray(
            multihost_utils.process_allgather(leaf, tiled=True)
            if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
            else leaf
        ),
        tree,
    )
