"""Files of weights that lie about their size or their names are refused unread."""

import contextlib
import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from abaw_jax.weights import conversion
from abaw_jax.weights.loading import load_image_encoder, load_soundnet, load_variables
from tests.support import foreign_weights
from tests.support.foreign_weights import IMAGE, SOUND, assert_same

NAME = "params/stem_conv/bias"  # float32 [8]
HUGE = 10**11


@pytest.fixture(scope="module")
def arrays():
    return conversion.flatten(foreign_weights.image_weights())


@contextlib.contextmanager
def at_most(limit):
    """Fails if more bytes are allocated inside, by NumPy among others."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


def npy(shape, content=b"", dtype="<f4", version=1):
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    header = repr(described).encode().ljust(117) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


def write_npz(path, arrays, changes, method=zipfile.ZIP_DEFLATED):
    """The arrays, those of ``changes`` by the bytes given."""
    files = {name: npy(a.shape, a.tobytes()) for name, a in arrays.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in (files | changes).items():
            archive.writestr(f"{name}.npy", content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NAME: npy((HUGE,))}, rf"{NAME} is float32 \(100000000000,\), where this"),
        ({NAME: npy((8, HUGE))}, NAME),
        ({NAME: npy((8,), dtype="|V1000000000")}, f"{NAME} is void"),
        ({NAME: npy((8,), dtype="|O")}, f"{NAME} is object"),
        ({NAME: npy((8,), version=2)}, "is no plain array"),
        ({NAME: b"\x93NUMPY\x02\0" + b"\xff" * 4}, "is no plain array"),
        ({NAME: npy((20_000_000,), bytes(80_000_000))}, NAME),
        ({"more": npy((20_000_000,), bytes(80_000_000))}, "are unknown to this Image"),
        ({"more" * 99: npy((1,), bytes(4))}, "1 arrays are unknown"),
        ({"a\x1b[2J": npy((1,), bytes(4))}, r"unknown .*: a\\x1b\[2J\."),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_an_npz_is_judged_by_its_headers(tmp_path, arrays, changes, message):
    path = tmp_path / "a.npz"
    write_npz(path, arrays, changes)
    with at_most(5e6), pytest.raises(ValueError, match=message) as refusal:
        load_image_encoder(path, encoder=IMAGE)
    assert str(refusal.value).startswith(f"{path}: ") and len(str(refusal.value)) < 500


def test_what_follows_an_array_is_not_unpacked(tmp_path, arrays):
    bias = arrays[NAME]
    longer = npy(bias.shape, bias.tobytes() + bytes(80_000_000))
    write_npz(tmp_path / "a.npz", arrays, {NAME: longer})
    with at_most(5e6):
        found = load_image_encoder(tmp_path / "a.npz", encoder=IMAGE)
    assert_same(found, conversion.unflatten(arrays))


def test_a_file_longer_than_any_of_the_network_is_not_read(tmp_path):
    for name in ("a.npz", "a.safetensors"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10**12)  # a hole: it takes no space
        with pytest.raises(ValueError, match="too many for this ImageEncoder"):
            load_image_encoder(tmp_path / name, encoder=IMAGE)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bz2", "lzma"]
)
def test_only_what_numpy_writes_is_unpacked(tmp_path, arrays, method):
    write_npz(tmp_path / "a.npz", arrays, {}, method)
    with pytest.raises(ValueError, match="compressed as NumPy never does"):
        load_image_encoder(tmp_path / "a.npz", encoder=IMAGE)


def test_a_name_twice_is_refused(tmp_path):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        warnings.simplefilter("ignore")
        for size in (1, 2):
            file.writestr("a.npy", npy((size,), bytes(4 * size)))
    with pytest.raises(ValueError, match="'a' is in it 2 times"):
        load_image_encoder(tmp_path / "a.npz", encoder=IMAGE)


def write_safetensors(path, text, content=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def tensor(begin, end, *shape):
    shape = shape or ((end - begin) // 4,)
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


TWICE = b'{"a":%s,"a":%s}' % tuple(
    json.dumps(tensor(0, 4 * k)).encode() for k in (1, 2)
)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": tensor(0, 4 * HUGE)}, "not fully covered"),
        ({"a": tensor(0, 8, HUGE)}, "a.safetensors: "),
        ({"a": tensor(0, 4), "b": tensor(400, 404)}, "invalid offset"),
        ({"a": tensor(0, 8), "b": tensor(4, 8)}, "invalid offset"),
        ({"a": tensor(0, 4), "a/b": tensor(4, 8)}, "'a' is an array, and 'a/b' lies"),
        ({"a/b": tensor(0, 4), "a": tensor(4, 8)}, "'a' is an array, and 'a/b' lies"),
        ({"/".join("a" * 100_001): tensor(0, 8)}, "has 100001 parts"),
        (TWICE, "'a' is in it 2 times"),
        (b'{"a":' + b"[" * 100_000, "recursion limit"),
        (b"[]", "a.safetensors: "),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_safetensors_are_judged_by_their_header(tmp_path, header, message):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, header, bytes(8))
    with pytest.raises(ValueError, match=message) as refusal:
        load_variables(path)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_a_length_of_a_header_is_no_promise(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{")
    with pytest.raises(ValueError, match="header too large"):
        load_variables(tmp_path / "a.safetensors")


def test_a_model_folder_has_safetensors_only(tmp_path, arrays):
    write_npz(tmp_path / "a.npz", arrays, {})
    with pytest.raises(ValueError, match=r"is no \.safetensors file"):
        load_variables(tmp_path / "a.npz")


def test_a_distribution_that_unpacks_to_more_is_refused(tmp_path):
    path = tmp_path / "soundnet.tar.gz"
    with gzip.open(path, "wb", 1) as packed:
        member = tarfile.TarInfo("soundnet/models/sound8.npy")
        member.size = 200_000_000
        packed.write(member.tobuf())
        for _ in range(20):
            packed.write(bytes(10_000_000))
    too_many = pytest.raises(ValueError, match="too many for this SoundNet")
    with at_most(5e6), too_many:
        load_soundnet(path, network=SOUND)


def test_an_archive_writes_nothing(tmp_path):
    """Its members are read by name in memory, wherever their paths lead."""
    (tmp_path / "here").mkdir()
    path = tmp_path / "here/soundnet.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../outside", "../soundnet/models/sound8.npy"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(ValueError, match=r"soundnet\.tar: EOF"):
        load_soundnet(path, network=SOUND)
    assert [each.name for each in tmp_path.rglob("*")] == ["here", "soundnet.tar"]


def test_names_of_other_depths_pass_unchanged():
    flat = {"a/b/c": np.zeros(1), "a/d": np.ones(1), "e": np.ones(2)}
    assert conversion.flatten(conversion.unflatten(flat)).keys() == flat.keys()
