"""The order in which the samples of a set train."""

import functools

import numpy as np


class BatchOrder:
    """Row numbers of each batch of a run; every pass over the rows is shuffled anew.

    Batches straddle passes, so no sample is dropped at the end of one. A pass is
    shuffled as a whole: one by one, as grain's own shuffle, a row costs 20 µs, which
    for a round of the paper is ten times the round on an accelerator.

    Attributes:
      generator: names how numbers are drawn from the seed; another one would continue
        a run with other batches.
    """

    generator = "SeedSequence(seed, set, pass)"

    def __init__(
        self, size: int, rows: int, rounds: int, seed: tuple[int, ...]
    ) -> None:
        self._size, self._rows, self._rounds, self._seed = size, rows, rounds, seed
        # Readers ahead are in the next pass, others still in this one.
        self._pass = functools.lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return self._rounds

    def __getitem__(self, index: int) -> np.ndarray:
        places = np.arange(index * self._rows, (index + 1) * self._rows)
        passes, places = np.divmod(places, self._size)
        first, last = int(passes[0]), int(passes[-1])
        parts = [self._pass(p)[places[passes == p]] for p in range(first, last + 1)]
        return np.concatenate(parts)

    def _shuffle(self, number: int) -> np.ndarray:
        rng = np.random.default_rng((*self._seed, number))
        return rng.permutation(np.arange(self._size, dtype=np.int32))
