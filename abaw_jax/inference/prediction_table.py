"""Tables of predictions: their columns, as CSV, as Parquet, and in memory.

A table has one row per frame and face. Values that a frame without a face has not are
None in a row, an empty cell in CSV, null in Parquet and NaN in an array.
"""

import csv
import importlib.util
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from abaw_jax.path_faults import as_path, writing
from abaw_jax.tasks import AFFECT, EXPRESSIONS

UNIT_NAMES = (
    *("AU01", "AU02", "AU04", "AU06", "AU07", "AU10"),
    *("AU12", "AU15", "AU23", "AU24", "AU25", "AU26"),
)
COLUMNS = (
    *("frame", "time", "face", "x", "y", "width", "height", "confidence"),
    *(*AFFECT, *EXPRESSIONS, "expression", *UNIT_NAMES),
)
"""Columns of the table, named as py-feat and OpenFace name them."""
SPREAD = tuple(f"{name}_sd" for name in (*AFFECT, "expression", *UNIT_NAMES))
"""Further columns of an ensemble: standard deviations over its networks; that of
``expression`` is of the probability of the expression that the row names."""

_SHOWN = ("frame", "time", "face", *AFFECT, "expression")
_WHOLE_NUMBERS, _TEXTS = ("frame", "face"), ("expression",)

Row = dict[str, Any]
"""Values by name of a column."""


def columns_of(num_networks: int) -> tuple[str, ...]:
    """Columns of the table of a model of so many networks."""
    return COLUMNS + SPREAD if num_networks > 1 else COLUMNS


class PredictionTable:
    """The predictions of one video in memory; ``table["valence"]`` is an array.

    Attributes:
      columns: their names.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Takes rows with these columns."""
        self.columns = tuple(columns)
        self._rows = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column ``[rows]``: float64, int64 of frames, strings of expressions.

        Raises:
          KeyError: if there is no such column; says which there are.
        """
        if not isinstance(column, str) or column not in self.columns:
            known = ", ".join(self.columns)
            raise KeyError(f"there is no column {column!r}; there are {known}")
        values = [row[column] for row in self._rows]
        if column in _TEXTS:
            return np.array([value or "" for value in values], str)
        return np.array(values, np.int64 if column == "frame" else np.float64)

    def __repr__(self) -> str:
        """The number of rows, the names of the columns, and the first rows."""
        shown = [name for name in _SHOWN if name in self.columns]
        first = [[_text(row[name]) for name in shown] for row in self._rows[:3]]
        lines = ["".join(f"{cell:>12}" for cell in each) for each in (shown, *first)]
        more = ["..."] if len(self) > len(first) else []
        head = f"PredictionTable, {len(self):,} rows of {', '.join(self.columns)}"
        return "\n".join([*textwrap.wrap(head, 88), *lines, *more])

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Writes the table as ``python -m abaw_jax.predict`` does.

        Raises:
          OSError: if the file cannot be written; says why.
        """
        file = as_path(path, "path", "that of a CSV file")
        with writing(file):
            write_table(file, self._rows, self.columns)


def write_table(
    path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS
) -> int:
    """Writes rows as CSV, six decimals; what is written stays if a row fails.

    Returns:
      How many rows were written.
    """
    count = 0
    # Line by line: whoever reads along, or ends the process, has every row.
    with path.open("w", newline="", encoding="utf-8", buffering=1) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _text(value) for name, value in row.items()})
            count += 1
    return count


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def read_frames_of_table(path: Path) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Yields frame number and rows with a face of each frame of a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        number, rows = 0, []
        for row in csv.DictReader(file):
            if int(row["frame"]) != number:
                if number:
                    yield number, rows
                number, rows = int(row["frame"]), []
            if row["face"]:
                rows.append(row)
        if number:
            yield number, rows


def require_parquet() -> None:
    """Checks that Parquet can be written.

    Raises:
      ValueError: if pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("--parquet needs pyarrow: pip install 'abaw_jax[parquet]'.")


def write_parquet(table: Path, path: Path) -> None:
    """Writes a CSV table as Parquet: float64, int64 and strings; empty cells are null.

    It is read and written in blocks, each a row group.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with table.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    types = dict.fromkeys(columns, pyarrow.float64())
    types |= dict.fromkeys(_WHOLE_NUMBERS, pyarrow.int64())
    types |= dict.fromkeys(_TEXTS, pyarrow.string())
    convert = arrow_csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True
    )
    partial = path.with_name(f"{path.name}.partial")
    try:
        with (
            arrow_csv.open_csv(table, convert_options=convert) as blocks,
            parquet.ParquetWriter(partial, blocks.schema) as writer,
        ):
            for block in blocks:
                writer.write_batch(block)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
