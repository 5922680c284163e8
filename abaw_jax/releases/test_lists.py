"""Reads the test lists: the videos or frames that a submission must predict.

Early editions name one subject a line and want every frame of its video; the multi-task
lists and the templates of later editions name every image (``video/00001.jpg``).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abaw_jax.releases.annotations import MAX_FRAME, quote, read_lines
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.names import normal_name

TestFrames = dict[str, np.ndarray]
"""Frames to predict by subject, int32 ascending from 1."""

_IMAGE = re.compile(r"([^/\\:]+)/([0-9]{1,12})\.(?:jpe?g|png)", re.IGNORECASE)
_NAME = re.compile(r"[^/\\:,]+")


def read_test_lists(
    files: Mapping[str, Sequence[Path]],
    lengths: Mapping[str, int],
    findings: Findings,
) -> dict[str, TestFrames]:
    """Reads the test lists of every set.

    Args:
      files: by set; of several that differ the first by name is taken.
      lengths: frames of the video of every subject that has crops.
      findings: takes what is odd.

    Returns:
      By set, without subjects that have no crops: nothing can be predicted of them.
    """
    found = {}
    for name, paths in files.items():
        lists = [_read_list(path, lengths, findings) for path in paths]
        for path, other in zip(paths[1:], lists[1:], strict=True):
            if other.keys() != lists[0].keys():
                text = f"names other subjects than {paths[0].name}, which is used"
                findings.add("test_list", path, text, 1)
        found[name] = lists[0]
    return found


def _read_list(
    path: Path, lengths: Mapping[str, int], findings: Findings
) -> TestFrames:
    numbers: dict[str, list[int]] = {}
    for number, line in enumerate(read_lines(path, findings), start=1):
        place = line.split(",")[0].strip()
        image, name = _IMAGE.fullmatch(place), _NAME.fullmatch(place)
        if not place or place.lower() in ("image", "image_location"):
            continue
        subject = normal_name(image[1] if image else place.removesuffix(".txt"))
        if (image is None and name is None) or subject in (".", ".."):
            text = f"{quote(place)} names neither a subject nor an image; refused"
            findings.add("path", path, text, number)
        elif subject not in lengths:
            text = f"there are no crops of {quote(subject)}; it was left out"
            findings.add("unknown_subject", path, text, number)
        elif image is None:
            numbers[subject] = list(range(1, lengths[subject] + 1))
        elif not 1 <= int(image[2]) <= MAX_FRAME:
            text = f"frame numbers run from 1 to {MAX_FRAME}; {quote(place)} refused"
            findings.add("path", path, text, number)
        else:
            numbers.setdefault(subject, []).append(int(image[2]))
    return {
        subject: np.unique(np.array(each, np.int32))
        for subject, each in numbers.items()
    }
