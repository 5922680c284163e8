"""Reads the annotation files of all editions of Aff-Wild2 into arrays and masks.

Two kinds exist: a file per subject, where line k after the header labels frame k, and a
list whose rows name their image (``video/00001.jpg``). What a column means is read from
the header, so seven expressions or eight action units of the early editions fall into
their places among today's, and what a header does not name is masked.
"""

import dataclasses
import math
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from abaw_jax.releases.findings import Findings
from abaw_jax.releases.names import normal_name
from abaw_jax.releases.text_lines import TextLimitError, bounded_lines, open_text
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS

MAX_FRAME = 9_999_999
"""Largest frame number taken: 46 hours at 60 frames a second."""

_VA, _EXPR, _AU = 0, len(AFFECT), len(AFFECT) + 1
_NUM_VALUES = len(AFFECT) + 1 + len(ACTION_UNITS)
LABELS = (*AFFECT, "expression", *ACTION_UNITS)
"""Names of the numbers that a frame may be labelled with, in the order of values."""
_IMAGE = re.compile(r"([^/\\:]+)/([0-9]{1,12})\.(?:jpe?g|png)", re.IGNORECASE)
_EXPECTED = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,...,Other",
    "au": "AU1,AU2,...,AU26",
    "mtl": "image,valence,arousal,expression,aus",
}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Labels of one subject, ascending by frame, each frame once.

    Where a mask is False the value is 0.

    Attributes:
      frame: int32 ``[N]``, counted from 1.
      va: float32 ``[N, 2]`` in ``[-1, 1]``.
      va_where: bool ``[N]``; valence and arousal hold together or not at all.
      expr: int32 ``[N]``, index into ``EXPRESSIONS``.
      expr_where: bool ``[N]``.
      au: uint8 ``[N, 12]``, columns as ``ACTION_UNITS``.
      au_where: bool ``[N, 12]``.
    """

    frame: np.ndarray
    va: np.ndarray
    va_where: np.ndarray
    expr: np.ndarray
    expr_where: np.ndarray
    au: np.ndarray
    au_where: np.ndarray

    def usable(self) -> np.ndarray:
        """Bool ``[N]``, True where at least one value holds."""
        return self.va_where | self.expr_where | self.au_where.any(axis=1)

    def take(self, chosen: np.ndarray) -> "Rows":
        """The rows at ``chosen``, a mask or indices."""
        return Rows(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Header:
    """Columns of a file, by its first line.

    Attributes:
      set_name: the annotation set it belongs to.
      slots: for each number of a line its place in ``LABELS``, or None if not needed.
      classes: expression that each class number of this file stands for.
      listed: whether lines begin with the name of their image.
    """

    set_name: str
    slots: tuple[int | None, ...]
    classes: tuple[int, ...] = tuple(range(len(EXPRESSIONS)))
    listed: bool = False


def parse_header(line: str) -> Header:
    """Recognises the first line of an annotation file.

    Raises:
      ValueError: if it is none of the known headers.
    """
    names = [name.strip().lower() for name in line.split(",")]
    expressions = [name.lower() for name in EXPRESSIONS]
    if len(set(names)) == len(names):
        if sorted(names) == sorted(AFFECT):
            return Header("va", tuple(AFFECT.index(name) for name in names))
        if all(name in expressions for name in names):
            classes = tuple(expressions.index(name) for name in names)
            return Header("expr", (_EXPR,), classes)
        if all(re.fullmatch(r"au[0-9]{1,3}", name) for name in names):
            return Header("au", tuple(_unit_slot(name) for name in names))
        if names[0] == "image" and (slots := _list_slots(names[1:])):
            return Header("mtl", slots, listed=True)
    raise ValueError(f"the first line {quote(line)} is no header of a known set")


def _unit_slot(name: str) -> int | None:
    """Place of a unit; the first edition has one (AU20) that later ones dropped."""
    unit = f"AU{int(name[2:])}"
    return _AU + ACTION_UNITS.index(unit) if unit in ACTION_UNITS else None


def _list_slots(names: list[str]) -> tuple[int | None, ...]:
    """Places of a list's columns, ``aus`` standing for all twelve; () if unknown."""
    slots: list[int | None] = []
    for name in names:
        if name == "aus":
            slots.extend(range(_AU, _NUM_VALUES))
        elif re.fullmatch(r"au[0-9]{1,3}", name):
            slots.append(_unit_slot(name))
        elif name in LABELS[:_AU]:
            slots.append(LABELS.index(name))
        else:
            return ()
    return tuple(slots)


def read_annotation(path: Path, set_name: str, findings: Findings) -> dict[str, Rows]:
    """Reads one annotation file.

    Args:
      path: a file per subject, or a list.
      set_name: the set of its folder; a header of another set is refused.
      findings: takes everything that could not be used.

    Returns:
      Rows by subject; without an entry for a file that cannot be used at all.
    """
    lines = enumerate(read_lines(path, findings), start=1)
    first, line = next(((k, line) for k, line in lines if line), (0, ""))
    if not first:
        return {}
    try:
        header = parse_header(line)
        if header.set_name != set_name:
            raise ValueError(f"the header is that of a file for {header.set_name}")
    except ValueError as error:
        remedy = f"expected {_EXPECTED[set_name]!r}; the file is left out, correct it"
        findings.add("header", path, f"{error}; {remedy}", first)
        return {}
    # 68 bytes a line; lists take 800. Lines and frames stay below 2 ** 24, so a float
    # holds them exactly, and values become floats in the end.
    tables: dict[str, array[float]] = {}
    if not header.listed:
        tables[normal_name(path.stem)] = array("f")
    for number, subject, frame, fields in _split(path, lines, first, header, findings):
        values = _parse_fields(path, number, fields, header, findings)
        tables.setdefault(subject, array("f")).extend((number, frame, *values))
    if not any(tables.values()):
        findings.add("empty_file", path, "the file has a header but no label")
    return {
        subject: arrange(path, subject, table, findings)
        for subject, table in tables.items()
    }


def read_lines(path: Path, findings: Findings) -> Iterator[str]:
    """Stripped lines, without the blank ones at the end; none if it cannot be read."""
    try:
        file, known = open_text(path)
    except OSError as error:
        findings.add("unreadable", path, f"cannot be read ({error.strerror})")
        return
    except TextLimitError as error:
        findings.add("unreadable", path, f"{error}; the file is left out")
        return
    if not known:
        findings.add("encoding", path, "is not UTF-8; read as Latin-1", 1)
    blank, empty = 0, True
    with file:
        for line in map(str.strip, bounded_lines(file)):
            if line:
                yield from [""] * blank
                yield line
                blank, empty = 0, False
            else:
                blank += 1
    if empty:
        findings.add("empty_file", path, "the file is empty and labels nothing")


def _split(
    path: Path,
    lines: Iterable[tuple[int, str]],
    first: int,
    header: Header,
    findings: Findings,
) -> Iterator[tuple[int, str, int, list[str]]]:
    """Line number, subject, frame and number fields of every line that has a place.

    A blank line keeps its place: the next label belongs to the next frame.
    """
    for number, line in lines:
        if not line:
            findings.add(
                "blank_line", path, "the line is blank and was skipped", number
            )
            continue
        fields = line.split(",")
        if not header.listed:
            yield number, normal_name(path.stem), number - first, fields
            continue
        try:
            subject, frame = image_place(fields[0])
        except ValueError as error:
            findings.add("path", path, f"{error}; refused", number)
        else:
            yield number, normal_name(subject), frame, fields[1:]


def image_place(text: str) -> tuple[str, int]:
    """Subject and frame number of an image, such as ``subject/00001.jpg``.

    Raises:
      ValueError: if the text is of another form, which may leave the folder of crops.
    """
    image = _IMAGE.fullmatch(text.strip())
    if image is None or image[1] in (".", ".."):
        raise ValueError(f"{quote(text)} is not of the form subject/00001.jpg")
    if not 1 <= int(image[2]) <= MAX_FRAME:
        raise ValueError(f"frame numbers run from 1 to {MAX_FRAME}: {quote(text)}")
    return image[1], int(image[2])


def _parse_fields(
    path: Path, number: int, fields: list[str], header: Header, findings: Findings
) -> list[float]:
    """Values in the order of ``LABELS``, NaN where there is none."""
    values = [math.nan] * _NUM_VALUES
    if len(fields) != len(header.slots):
        text = (
            f"{len(fields)} values where the header asks for {len(header.slots)}; "
            "the line was left out"
        )
        findings.add("fields", path, text, number)
        return values
    for slot, field in zip(header.slots, fields, strict=True):
        if slot is None:
            continue
        try:
            values[slot] = _parse_value(slot, field, header.classes)
        except ValueError as error:
            kind = "number" if "not a number" in str(error) else "range"
            findings.add(kind, path, f"{LABELS[slot]} {error}; left out", number)
    return values


def _parse_value(slot: int, field: str, classes: tuple[int, ...]) -> float:
    """The value in our terms, NaN if the file marks it as missing."""
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"is {quote(field)}, not a number")
    if slot < _EXPR:
        if value == -5:
            return math.nan
        if not -1 <= value <= 1:
            raise ValueError(f"is {quote(field)}, outside [-1, 1]")
        return value
    if value == -1:
        return math.nan
    choices = len(classes) if slot == _EXPR else 2
    if value not in range(choices):
        raise ValueError(
            f"is {quote(field)}, not a whole number from 0 to {choices - 1}"
        )
    return classes[int(value)] if slot == _EXPR else value


def arrange(
    path: Path, subject: str, table: "array[float]", findings: Findings
) -> Rows:
    """Sorts the labels of one subject; of rows for one frame the first usable stays.

    Args:
      path: of the file, for messages.
      subject: its name.
      table: of every row its line in the file, its frame and the values of `LABELS`.
        Single or double precision.
      findings: takes the frames that are listed twice.
    """
    values = np.asarray(table).reshape(-1, 2 + _NUM_VALUES)
    rows = mask_values(values[:, 1].astype(np.int32), values[:, 2:])
    order = np.lexsort((~rows.usable(), rows.frame))
    repeated = np.zeros(len(order), bool)
    repeated[1:] = np.diff(rows.frame[order]) == 0
    for row in np.sort(order[repeated]):
        text = f"{subject} frame {rows.frame[row]} is listed twice; counted once"
        findings.add("duplicate", path, text, int(values[row, 0]))
    return rows.take(order[~repeated])


def mask_values(frame: np.ndarray, values: np.ndarray) -> Rows:
    """Rows from numbers as they are read.

    Args:
      frame: int32 ``[N]``.
      values: float ``[N, 3]``, valence, arousal and expression, or ``[N, 15]`` with
        the action units too; NaN for missing.
    """
    absent = _NUM_VALUES - values.shape[1]
    values = np.pad(values, [(0, 0), (0, absent)], constant_values=math.nan)
    known = np.logical_not(np.isnan(values))
    va_where = np.logical_and(*known[:, _VA:_EXPR].T)
    values = np.where(known, values, 0)
    return Rows(
        frame=frame,
        va=np.where(va_where[:, None], values[:, _VA:_EXPR], 0).astype(np.float32),
        va_where=va_where,
        expr=values[:, _EXPR].astype(np.int32),
        expr_where=known[:, _EXPR],
        au=values[:, _AU:].astype(np.uint8),
        au_where=known[:, _AU:],
    )


def quote(text: str) -> str:
    """The text as it goes into a message: one line, not endless, printable."""
    return ascii(text.strip() if len(text) <= 60 else text[:57].strip() + "...")
