"""Keeps a second run out of a folder: one run at a time makes what is in it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from abaw_jax.store.shares import writing_whole
from abaw_jax.store.sole_writer import InUseError, sole_writer
from abaw_jax.training.processes import gather_values, is_first


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Locks a folder for this run; all of its processes must ask, the first locks.

    Raises:
      InUseError: on every process, if another run holds the folder.
    """
    refused = None
    with ExitStack() as stack:
        if is_first():
            try:
                stack.enter_context(sole_writer(folder))
            except InUseError as error:
                refused = error
        if gather_values(refused is not None)[0, 0]:
            raise refused or InUseError(
                f"{folder} is in use, as the first process says"
            )
        yield


def sole_stage(folder: Path) -> AbstractContextManager[None]:
    """Locks a stage's folder, which another run with the same inputs may be making.

    So may processes of shares of it (`feature_shards`).

    Only the first process locks, and the others do not wait for it: processes that
    arrive at different times disagree on whether a stage is complete.
    """
    return writing_whole(folder) if is_first() else nullcontext()
