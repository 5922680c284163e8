"""Crops and videos that unpack to, claim or start more than a picture are refused."""

import os
import struct
import subprocess
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from abaw_jax.releases.images import MediaError, read_image
from abaw_jax.releases.media import open_container, read_recording


def chunk(kind, content):
    """A piece of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


LARGE = zlib.compress(bytes(200_000_000), 1)
DIRECTORY = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x112, 3, 2**32 - 1, 0)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (chunk(b"zTXt", b"k\0\0" + LARGE), "MAX_TEXT_CHUNK"),
        (chunk(b"iCCP", b"k\0\0" + LARGE), "MAX_TEXT_CHUNK"),
        (chunk(b"iTXt", b"k\0\1\0\0\0" + LARGE), "MAX_TEXT_CHUNK"),
        (chunk(b"tEXt", b"k\0" + b"a" * 60_000_000), "60,000,087 bytes, too many"),
    ],
    ids=["zTXt", "iCCP", "iTXt", "tEXt"],
)
def test_what_lies_beside_the_pixels_stays_packed(tmp_path, extra, message):
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + extra + whole[33:])
    tracemalloc.start()
    with pytest.raises(MediaError, match=message):
        read_image(path, 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # of 200 MB


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_a_tag_that_claims_gigabytes_is_none(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    whole, exif = (tmp_path / "a.jpg").read_bytes(), b"Exif\0\0" + DIRECTORY + bytes(4)
    head = b"\xff\xe1" + struct.pack(">H", len(exif) + 2)
    (tmp_path / "a.jpg").write_bytes(whole[:2] + head + exif + whole[2:])
    assert not read_image(tmp_path / "a.jpg", 16).turned


def test_a_crop_starts_no_program(tmp_path, monkeypatch):
    """For EPS Pillow starts Ghostscript."""
    monkeypatch.setattr(subprocess, "check_call", pytest.fail)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n"
    (tmp_path / "a.jpg").write_bytes(text)
    with pytest.raises(MediaError, match="cannot identify image file"):
        read_image(tmp_path / "a.jpg", 16)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP"])
def test_kinds_that_data_sets_name_jpg_are_read(tmp_path, kind):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.jpg", kind)
    pixels = read_image(tmp_path / "a.jpg", 16).pixels
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 12


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "read", [lambda path: read_image(path, 16), read_recording, open_container]
)
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.mp4")
    for path, message in (
        (tmp_path / "a.mp4", "is no regular file"),
        (tmp_path, "is no regular file"),
        (tmp_path / "none.mp4", "No such file"),
    ):
        with pytest.raises(MediaError, match=message):
            read(path)
