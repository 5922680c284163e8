"""Writes the files that the ABAW challenges ask for, and checks them.

Three forms: a file per video and task (editions 1 to 3), a file per task whose rows
name images (5, 6, 8, 9, 10), and one file for the multi-task track (3, 4, 7, 11).
"""

import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy.special import expit, softmax

from abaw_jax.path_faults import file_fault
from abaw_jax.releases.annotations import image_place, quote
from abaw_jax.releases.names import normal_name
from abaw_jax.releases.text_lines import TextLimitError, bounded_lines
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS

Frame = tuple[str, int]
"""Subject and frame number, from 1."""

EDITIONS = {
    1: "video",
    2: "video",
    3: "video and joint",
    4: "joint",
    5: "image",
    6: "image",
    7: "joint",
    8: "image",
    9: "image",
    10: "image",
    11: "joint",
}
"""Form of each edition's files."""
_NAMES = {
    "va": ",".join(AFFECT),
    "expr": ",".join(EXPRESSIONS),
    "au": ",".join(ACTION_UNITS),
    "mtl": "valence,arousal,expression,aus",
}
_FIELDS = {"va": 2, "expr": 1, "au": 12, "mtl": 15}


@dataclass(frozen=True)
class Track:
    """Values of every row of one task's test list, in the order of its rows.

    Attributes:
      frames: that the list names.
      va: ``[N, 2]``.
      expr: ``[N]``, class.
      au: ``[N, 12]``, 0 or 1.
      carried: rows with the values of another frame of their subject.
      guessed: rows of subjects without any image.
    """

    frames: Sequence[Frame]
    va: np.ndarray
    expr: np.ndarray
    au: np.ndarray
    carried: int
    guessed: int


def fill_track(
    frames: Sequence[Frame],
    predicted: Sequence[Frame],
    outputs: Mapping[str, np.ndarray],
) -> Track:
    """Gives every row of a list values.

    A frame without an image has those of the last frame before it that has one, or of
    the first after it; a subject without any image has the mean of all frames.

    Args:
      frames: rows of the list.
      predicted: frames that a network has predicted.
      outputs: of K networks for these, by task ``[K, P, C]``.
    """
    va = outputs["va"].mean(0)
    expr = softmax(outputs["expr"], axis=-1).mean(0)
    au = expit(outputs["au"]).mean(0)
    source, carried, guessed = _sources(frames, predicted)

    def values(each: np.ndarray) -> np.ndarray:
        return np.concatenate([each, each.mean(0, keepdims=True)])[source]

    return Track(
        frames=frames,
        va=values(va).clip(-1, 1),
        expr=values(expr).argmax(-1),
        au=(values(au) > 0.5).astype(int),
        carried=carried,
        guessed=guessed,
    )


def _sources(
    frames: Sequence[Frame], predicted: Sequence[Frame]
) -> tuple[np.ndarray, int, int]:
    """Index of the predicted frame for each row, the number of all for a guess."""
    numbers: dict[str, list[tuple[int, int]]] = {}
    for index, (subject, number) in enumerate(predicted):
        numbers.setdefault(subject, []).append((number, index))
    known = {name: np.array(sorted(each)) for name, each in numbers.items()}
    source = np.full(len(frames), len(predicted))
    carried = 0
    for row, (name, number) in enumerate(frames):
        if (subject := normal_name(name)) in known:
            place = np.searchsorted(known[subject][:, 0], number, side="right") - 1
            found, source[row] = known[subject][max(place, 0)]
            carried += int(found != number)
    return source, carried, int((source == len(predicted)).sum())


def write_submission(
    tracks: Mapping[str, Track], edition: int, out: Path
) -> list[Path]:
    """Writes the files of an edition, checks them and packs them into a zip.

    Args:
      tracks: by set, "va", "expr", "au" or "mtl".
      edition: of the challenge, 1 to 11.
      out: folder; gets one zip per track.

    Returns:
      The zips.

    Raises:
      ValueError: if the edition has none of these tracks, or a file is not as the
        challenge wants it, in which case no zip is written.
    """
    form = EDITIONS[edition]
    zips = []
    for name in asked_sets(edition, tracks):
        texts = _texts(name, tracks[name], by_video=name != "mtl" and "video" in form)
        for file, (text, frames) in texts.items():
            _require_right(name, file, text, len(frames))
        zips.append(_pack(out / f"{name}.zip", {f: t for f, (t, _) in texts.items()}))
    return zips


def asked_sets(edition: int, sets: Collection[str]) -> list[str]:
    """Those of some sets that an edition asks for.

    Raises:
      ValueError: if it asks for none.
    """
    form = EDITIONS[edition]
    asked = {"mtl": "joint" in form}
    found = sorted(name for name in sets if asked.get(name, form != "joint"))
    if not found:
        raise ValueError(
            f"edition {edition} asks for {form} files; the test lists are those of "
            f"{', '.join(sets) or 'nothing'}."
        )
    return found


def _texts(
    name: str, track: Track, *, by_video: bool
) -> dict[str, tuple[str, list[int]]]:
    """Text of each file, and which rows of the track it holds."""
    if not by_video:
        column = "image" if name == "mtl" else "image_location"
        rows = [*range(len(track.frames))]
        lines = [f"{column},{_NAMES[name]}"]
        for row in rows:
            subject, number = track.frames[row]
            lines.append(f"{subject}/{number:05d}.jpg,{_values(name, track, row)}")
        return {f"{name}.txt": ("\n".join(lines) + "\n", rows)}
    found = {}
    order = sorted(range(len(track.frames)), key=lambda row: track.frames[row])
    for subject, group in groupby(order, key=lambda row: track.frames[row][0]):
        rows = [*group]
        lines = [_NAMES[name], *(_values(name, track, row) for row in rows)]
        found[f"{subject}.txt"] = ("\n".join(lines) + "\n", rows)
    return found


def _values(name: str, track: Track, row: int) -> str:
    affect = [f"{value:.4f}" for value in track.va[row]]
    units = [str(value) for value in track.au[row]]
    expression = [str(track.expr[row])]
    parts = {
        "va": affect,
        "expr": expression,
        "au": units,
        "mtl": [*affect, *expression, *units],
    }
    return ",".join(parts[name])


def _require_right(name: str, file: str, text: str, rows: int) -> None:
    """Reads a file again, as the organisers will."""
    header, *lines = text.splitlines()
    images = header.startswith("image")
    fields = [line.split(",") for line in lines]
    values = [each[1:] if images else each for each in fields]
    faults = []
    if len(lines) != rows:
        faults.append(f"{len(lines)} rows, {rows} expected")
    if images and len({each[0] for each in fields}) != len(fields):
        faults.append("an image twice")
    if any(len(each) != _FIELDS[name] for each in values):
        faults.append(f"rows without {_FIELDS[name]} values")
    elif not all(_in_range(name, each) for each in values):
        faults.append("values out of range")
    if faults:
        raise ValueError(f"{file} has {'; '.join(faults)}: nothing was packed.")


def _in_range(name: str, values: Sequence[str]) -> bool:
    affect = values[:2] if name in ("va", "mtl") else ()
    expression = {"expr": values[:1], "mtl": values[2:3]}.get(name, ())
    units = {"au": values, "mtl": values[3:]}.get(name, ())
    return (
        all(-1 <= float(value) <= 1 for value in affect)
        and all(0 <= int(value) < len(EXPRESSIONS) for value in expression)
        and all(value in ("0", "1") for value in units)
    )


def _pack(path: Path, texts: Mapping[str, str]) -> Path:
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    partial.replace(path)
    return path


def read_template(path: Path) -> tuple[str, list[Frame]]:
    """The set and the rows of a template or list that names images.

    Raises:
      ValueError: if there is no such file, its header is of no track, it has no rows,
        or a row names no image, or one of a row before; names the line.
    """
    if fault := file_fault(path):
        raise ValueError(f"{fault}.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _read_template(path, bounded_lines(file))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8.") from None
    except TextLimitError as error:
        raise ValueError(f"{path} {error}.") from None


def _read_template(path: Path, lines: Iterator[str]) -> tuple[str, list[Frame]]:
    header = next(lines, "").rstrip("\n")
    names = [each.strip() for each in header.split(",")]
    second = names[1] if len(names) > 1 else ""
    kinds = {"Neutral": "expr", "AU1": "au"}
    name = "mtl" if "expression" in names else kinds.get(second, "va")
    if not names[0].startswith("image") or (name == "va" and second != "valence"):
        raise ValueError(f"{path}: {quote(header)} is the header of no template.")
    frames: dict[Frame, None] = {}
    for line, text in enumerate(lines, start=2):
        if not (place := text.split(",")[0].strip()):
            continue
        try:
            frame = image_place(place)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}.") from None
        if frame in frames:
            raise ValueError(f"{path}, line {line}: {quote(place)} is there twice.")
        frames[frame] = None
    if not frames:
        raise ValueError(f"{path} names no image.")
    return name, [*frames]
