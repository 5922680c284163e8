"""Makes the manifest of a store: its subjects, and the digest of every file."""

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from abaw_jax.releases.labels import AllLabels, Labels, join_rows
from abaw_jax.releases.media import SAMPLE_RATE
from abaw_jax.releases.test_lists import TestFrames
from abaw_jax.store.files import TEST_FIELDS, label_file
from abaw_jax.store.joining import PackedRelease
from abaw_jax.store.pieces import Packer
from abaw_jax.store.reader import STORE_VERSION, StoreError, read_manifest


def make_manifest(
    pieces: PackedRelease,
    labels: AllLabels,
    tests: dict[str, TestFrames],
    packer: Packer,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the files of labels that are still to be written."""
    lengths = pieces.lengths()
    subjects = [
        {
            "name": name,
            "video": pieces.videos[name],
            "fps": pieces.sounds[pieces.videos[name]].facts["fps"],
            "num_frames": lengths[name],
            "num_images": len(numbers),
        }
        for name, numbers in pieces.numbers.items()
    ]
    files: dict[str, Any] = {}
    for record in (*pieces.sounds.values(), *pieces.subjects.values()):
        files |= record.files
    index = {subject["name"]: k for k, subject in enumerate(subjects)}
    arrays: dict[str, np.ndarray] = {}
    for (set_name, split), part in labels.items():
        table = join_rows(part.rows, index)
        for field in dataclasses.fields(Labels):
            name = label_file(set_name, split, field.name)
            arrays[name] = getattr(table, field.name)
    for set_name, frames in tests.items():
        order = sorted(frames, key=index.__getitem__)
        found = [np.full(len(frames[s]), index[s], np.int32) for s in order]
        columns = found, [frames[s] for s in order]
        for field, parts in zip(TEST_FIELDS, columns, strict=True):
            parts = [np.zeros(0, np.int32), *parts]
            arrays[label_file(set_name, "test", field)] = np.concatenate(parts)
    written = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        written[name] = data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        files[name] = {"bytes": len(data), "sha256": digest}
    manifest = {
        "version": STORE_VERSION,
        "image_size": packer.image_size,
        "images": packer.images,
        "sample_rate": SAMPLE_RATE,
        "subjects": subjects,
        "tests": sorted(tests),
        "files": files,
    }
    return manifest, written


def is_written(store: Path, manifest: dict[str, Any]) -> bool:
    """True if this very store exists, by its sizes."""
    try:
        return read_manifest(store) == manifest and all(
            (store / name).stat().st_size == facts["bytes"]
            for name, facts in manifest["files"].items()
        )
    except (OSError, StoreError):
        return False
