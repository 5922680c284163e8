"""Crops and videos that unpack to, claim or start more than a picture are refused."""

import os
import struct
import subprocess
import tempfile
import tracemalloc
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from abaw_jax.releases.containers import open_container
from abaw_jax.releases.images import MediaError, read_image
from abaw_jax.releases.media import SAMPLE_RATE, read_recording


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


def write_jump(path, seconds):
    """Two frames and two pieces of sound, a moment and that many seconds later."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 10)
        track = container.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for time in (0, seconds):
            pixels = np.full((32, 32, 3), 90 * bool(time), np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = 10 * time, Fraction(1, 10)
            container.mux(pictures.encode(picture))
            samples = np.full((1, 1024), 9000, np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.time_base = 44_100, Fraction(1, 44_100)
            sound.pts = max(time - 1, 0) * 44_100
            container.mux(track.encode(sound))
        container.mux(pictures.encode())


def test_a_hole_of_hours_is_filled_in_pieces(tmp_path):
    write_jump(tmp_path / "a.mkv", 1000)
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        recording = read_recording(tmp_path / "a.mkv", file)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert abs(len(recording.track) / SAMPLE_RATE - 999) < 0.1
        assert not recording.track[SAMPLE_RATE : 900 * SAMPLE_RATE].any()
    assert peak < 50e6  # of 176 MB at once


def test_a_hole_of_days_is_none(tmp_path):
    write_jump(tmp_path / "a.mkv", 10**6)
    assert len(read_recording(tmp_path / "a.mkv").track) < SAMPLE_RATE
