"""Logs the records of a store that cannot be read, each once, and counts them.

A damaged crop does not end the training: its row is masked, and a warning names the
record.
"""

import threading
from collections.abc import Callable

from abaw_jax.store.frames import StoreError


class ReadErrorLog:
    """Collects errors of reading; may be used by several threads.

    Attributes:
      rows: rows that were masked, as often as they were drawn.
    """

    def __init__(self, tell: Callable[[str], None], *, limit: int = 5) -> None:
        """Tells the first ``limit`` records with ``tell`` and counts the others."""
        self.rows = 0
        self._tell = tell
        self._limit = limit
        self._seen: set[str] = set()
        self._turn = threading.Lock()

    def add(self, error: StoreError) -> None:
        """Notes that a row is masked because of ``error``."""
        with self._turn:
            self.rows += 1
            if str(error) not in self._seen:
                self._seen.add(str(error))
                if len(self._seen) <= self._limit:
                    self._tell(f"{error}; until then its rows are masked")

    def summary(self) -> str:
        """One sentence, or nothing if everything could be read."""
        if not self._seen:
            return ""
        return (
            f"{len(self._seen)} records of the store could not be read; "
            f"{self.rows} rows were masked for it"
        )
