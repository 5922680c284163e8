"""Tables as CSV, in memory and as Parquet: types, missing values, blocks."""

import csv
import sys

import numpy as np
import pytest

from abaw_jax.inference.prediction_table import (
    COLUMNS,
    SPREAD,
    PredictionTable,
    columns_of,
    read_frames_of_table,
    require_parquet,
    write_parquet,
    write_table,
)

SEEN = dict.fromkeys(COLUMNS, 0.25) | {
    **{"frame": 1, "time": 0.0, "face": 3, "expression": "Fear"},
    "confidence": None,
}
UNSEEN = dict.fromkeys(COLUMNS) | {"frame": 2, "time": 0.1}


def test_only_an_ensemble_has_a_spread():
    assert columns_of(1) == COLUMNS and columns_of(2) == COLUMNS + SPREAD
    assert SPREAD[:3] == ("valence_sd", "arousal_sd", "expression_sd")


def test_a_table_in_memory_has_arrays_and_the_csv_of_the_command(tmp_path):
    table = PredictionTable(COLUMNS, iter([SEEN, UNSEEN]))
    assert len(table) == 2 and table.columns == COLUMNS
    np.testing.assert_array_equal(table["frame"], [1, 2])
    np.testing.assert_array_equal(table["face"], [3, np.nan])
    np.testing.assert_array_equal(table["valence"], [0.25, np.nan])
    assert table["expression"].tolist() == ["Fear", ""]
    table.to_csv(tmp_path / "memory.csv")
    write_table(tmp_path / "file.csv", [SEEN, UNSEEN])
    assert (tmp_path / "memory.csv").read_bytes() == (
        tmp_path / "file.csv"
    ).read_bytes()


@pytest.mark.parametrize("column", ["valance", 0, None, [1], np.array([True])])
def test_another_column_is_named_with_those_there_are(column):
    for rows in ([], [SEEN]):
        with pytest.raises(KeyError, match=r"no column .*; there are frame, .*, AU26"):
            PredictionTable(COLUMNS, rows)[column]


def test_a_table_shows_its_columns_and_first_rows():
    rows = [SEEN, UNSEEN, *(SEEN | {"frame": n} for n in range(3, 1003))]
    lines = repr(PredictionTable(COLUMNS, rows)).splitlines()
    assert max(map(len, lines)) <= 88 and len(lines) < 12
    assert lines[0].startswith("PredictionTable, 1,002 rows of frame, time, face, x, ")
    assert [each.split() for each in lines[-5:]] == [
        ["frame", "time", "face", "valence", "arousal", "expression"],
        ["1", "0", "3", "0.25", "0.25", "Fear"],
        ["2", "0.1"],
        ["3", "0", "3", "0.25", "0.25", "Fear"],
        ["..."],
    ]
    assert repr(PredictionTable(COLUMNS, [])).splitlines()[-1].split()[0] == "frame"


def test_a_csv_file_that_cannot_be_written_is_told(tmp_path):
    table = PredictionTable(COLUMNS, [SEEN])
    there = r"gone/a\.csv cannot be written: .*gone does not exist: name an existing"
    with pytest.raises(FileNotFoundError, match=there):
        table.to_csv(tmp_path / "gone" / "a.csv")
    with pytest.raises(OSError, match="cannot be written: "):
        table.to_csv(tmp_path)
    with pytest.raises(TypeError, match="path is of type NoneType and no path"):
        table.to_csv(None)


def test_a_row_is_in_the_file_as_soon_as_it_is_known(tmp_path):
    path, lengths = tmp_path / "a.csv", []

    def rows():
        for _ in range(3):
            yield SEEN
            lengths.append(len(path.read_text().splitlines()))

    write_table(path, rows())
    assert lengths == [2, 3, 4]


def test_rows_are_gathered_by_frame(tmp_path):
    again = SEEN | {"face": 4}
    write_table(tmp_path / "a.csv", [SEEN, again, UNSEEN, SEEN | {"frame": 9}])
    found = list(read_frames_of_table(tmp_path / "a.csv"))
    assert [(number, [r["face"] for r in rows]) for number, rows in found] == [
        *((1, ["3", "4"]), (2, []), (9, ["3"]))
    ]
    write_table(tmp_path / "b.csv", [])
    assert list(read_frames_of_table(tmp_path / "b.csv")) == []


def test_parquet_has_types_nulls_and_a_row_group_for_each_block(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [SEEN | {"frame": n, "time": n / 7} for n in range(1, 9000)]
    write_table(tmp_path / "a.csv", [*rows, UNSEEN | {"frame": 9000}])
    write_parquet(tmp_path / "a.csv", tmp_path / "a.parquet")
    file = parquet.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups > 1
    table = file.read()
    assert tuple(table.column_names) == COLUMNS
    types = {field.name: str(field.type) for field in table.schema}
    assert types.pop("frame") == types.pop("face") == "int64"
    assert types.pop("expression") == "string"
    assert {*types.values()} == {"double"}
    assert table["frame"].to_pylist() == [*range(1, 9001)]
    assert table["time"][6].as_py() == 1.0 and table["expression"][0].as_py() == "Fear"
    last = table.slice(8999).to_pylist()[0]
    assert {name for name, value in last.items() if value is not None} == {
        *("frame", "time")
    }
    assert table["confidence"].null_count == 9000
    with (tmp_path / "a.csv").open(newline="") as text:
        numbers = [float(row["time"]) for row in csv.DictReader(text)]
    assert table["time"].to_pylist() == numbers


def test_a_table_without_rows_is_parquet_too(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "a.csv", [])
    write_parquet(tmp_path / "a.csv", tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").num_rows == 0


def test_without_pyarrow_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'abaw_jax\[parquet\]'"):
        require_parquet()
