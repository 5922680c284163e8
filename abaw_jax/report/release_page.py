"""The HTML page about a release, in one file without scripts."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from abaw_jax.report.html_page import data_address, escape, html_page
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS

PUBLISHED = {
    ("va", "train"): (341, 1_555_919),
    ("va", "validation"): (71, 338_755),
    ("expr", "train"): (248, 585_317),
    ("expr", "validation"): (70, 280_532),
    ("au", "train"): (295, 1_356_861),
    ("au", "validation"): (105, 445_836),
    ("mtl", "train"): (257, 142_225),
    ("mtl", "validation"): (None, 26_876),
}
"""Subjects and frames of ABAW3, as counted by its participants; None is not known."""

_SIDE = 80  # pixels of a face on the page
_SHOWN = 200  # anomalies of one kind that are written out


@dataclass(frozen=True)
class Face:
    """One labelled crop.

    Attributes:
      pixels: uint8 ``[H, W, 3]``.
      subject: its name.
      frame: its number.
      origin: set and split that label it.
      labels: what they say, in a few words.
    """

    pixels: np.ndarray
    subject: str
    frame: int
    origin: str
    labels: str


def release_page(report: Mapping[str, Any], faces: Sequence[Face], name: str) -> str:
    """The whole page.

    Args:
      report: as in ``report.json``.
      faces: of the contact sheet.
      name: of what was read; the title.
    """
    parts = [
        f"<h1>{escape(name)}</h1>",
        f"<p>{report['subjects']:,} subjects, {report['images']:,} images"
        f" ({report['resized']:,} resized), {len(report['anomalies']):,} anomalies</p>",
        "<h2>Sets</h2>",
        *_sets(report["sets"]),
        *_overlap(report),
        "<h2>Labels</h2>",
        *_labels(report["sets"]),
        "<h2>Faces</h2>",
        *_sheet(faces),
        "<h2>Anomalies</h2>",
        *_anomalies(report["anomalies"]),
    ]
    return html_page(name, parts, style=_STYLE)


def _sets(sets: Mapping[str, Any]) -> Iterator[str]:
    heads = "subjects", "frames", "without image", "invalid", "ABAW3 subjects", "frames"
    yield "<div class=wide><table><tr><th>"
    yield "".join(f"<th>{head}" for head in heads)
    for name, splits in sets.items():
        for split, counts in splits.items():
            known = PUBLISHED[name, split]
            numbers = [
                counts[key]
                for key in (
                    "subjects",
                    "frames",
                    "labels_without_image",
                    "invalid_labels",
                )
            ]
            cells = [f"<td>{number:,}" for number in numbers]
            cells += [f"<td class=dim>{n:,}" if n else "<td class=dim>?" for n in known]
            yield f"<tr><th>{name} {split}{''.join(cells)}"
    yield "</table></div><p class=dim>The last two columns are for orientation: what "
    yield "participants counted in the third edition.</p>"


def _overlap(report: Mapping[str, Any]) -> Iterator[str]:
    pairs = [
        (name, other, subjects)
        for name, others in report["overlap"].items()
        for other, subjects in others.items()
    ]
    if not pairs:
        yield "<p>No subject trains in one set while its video validates in another."
        return
    yield "<h2>Overlap</h2><ul>"
    for name, other, subjects in pairs:
        names = ", ".join(map(escape, subjects))
        yield (
            f"<li><details><summary>{len(subjects)} subjects train in {name} and "
            f"validate in {other}</summary>{names}</details>"
        )
    yield "</ul>"
    for name, frames in report["removed"].items():
        yield f"<p>{frames:,} training frames of {name} were removed for it.</p>"


def _labels(sets: Mapping[str, Any]) -> Iterator[str]:
    yield "<div class=charts>"
    for name, splits in sets.items():
        for split, counts in splits.items():
            if not counts["frames"]:
                continue
            origin = f"{name} {split}"
            if sum(counts["expressions"]):
                yield _bars(
                    f"{origin}: expressions", EXPRESSIONS, counts["expressions"]
                )
            if sum(counts["units_known"]):
                rates = [
                    present / max(known, 1)
                    for present, known in zip(
                        counts["units_present"], counts["units_known"], strict=True
                    )
                ]
                yield _bars(f"{origin}: share with each unit", ACTION_UNITS, rates)
            for affect in AFFECT:
                if sum(counts[affect]):
                    yield _histogram(f"{origin}: {affect}", counts[affect])
    yield "</div>"


def _bars(title: str, names: Sequence[str], values: Sequence[float]) -> str:
    most = max(values) or 1
    rows = [
        f"<tr><th>{name}<td><i style='width:{100 * value / most:.1f}%'></i>"
        f"<td>{value:{',' if isinstance(value, int) else '.3f'}}"
        for name, value in zip(names, values, strict=True)
    ]
    table = f"<table class=bars>{''.join(rows)}</table>"
    return f"<figure><figcaption>{title}</figcaption>{table}</figure>"


def _histogram(title: str, counts: Sequence[int]) -> str:
    most = max(counts) or 1
    bars = "".join(f"<i style='height:{100 * n / most:.1f}%'></i>" for n in counts)
    return (
        f"<figure><figcaption>{title}</figcaption><div class=histogram>{bars}</div>"
        "<div class=axis><span>-1</span><span>0</span><span>1</span></div></figure>"
    )


def _sheet(faces: Sequence[Face]) -> Iterator[str]:
    yield "<div class=sheet>"
    for face in faces:
        place = f"{face.subject}/{face.frame:05d}"
        yield (
            f"<figure><img alt='' src='{_picture(face.pixels)}'><figcaption>"
            f"<b>{escape(face.labels)}</b><br>{escape(place)}<br>"
            f"<span class=dim>{escape(face.origin)}</span></figcaption></figure>"
        )
    yield "</div>"


def _picture(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return data_address(buffer.getvalue(), "image/jpeg")


def _anomalies(anomalies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not anomalies:
        yield "<p>None.</p>"
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for anomaly in anomalies:
        kinds.setdefault(anomaly["kind"], []).append(anomaly)
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        yield f"<details><summary>{len(found):,} {escape(kind)}</summary><ul>"
        for anomaly in found[:_SHOWN]:
            line = "" if anomaly["line"] is None else f":{anomaly['line']}"
            place = escape(f"{anomaly['file']}{line}")
            yield f"<li><code>{place}</code> {escape(anomaly['text'])}"
        if len(found) > _SHOWN:
            yield f"<li>{len(found) - _SHOWN:,} more, all in report.json"
        yield "</ul></details>"


_STYLE = """
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --dim: #9a9a9a; --line: #3a3a3a; --bar: #56b4e9;
    --page: #161616; } }
.wide tr:first-child th { color: var(--dim); font-size: .85rem; }
.bars { width: 100%; font-size: .8rem; line-height: 1.35; }
.bars th { text-align: left; font-weight: normal; width: 6rem; padding: 0; }
.bars td:last-child { width: 4.5rem; text-align: right; color: var(--dim); padding: 0; }
.bars i { display: block; height: .7em; background: var(--bar); border-radius: 1px; }
.histogram { display: flex; align-items: end; gap: 1px; height: 6rem;
  border-bottom: 1px solid var(--dim); }
.histogram i { flex: 1; background: var(--bar); min-height: 1px; }
.axis { display: flex; justify-content: space-between; color: var(--dim);
  font-size: .75rem; }
.sheet { display: grid; gap: 1rem .8rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.sheet img { width: 80px; height: 80px; border-radius: 4px; display: block;
  margin-bottom: .3rem; }
.sheet figcaption { font-size: .75rem; line-height: 1.35; overflow-wrap: anywhere; }
"""
