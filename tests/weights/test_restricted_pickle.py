"""A pickle is read for its arrays; whatever else it asks for is not even looked up."""

import io
import pickle
import tracemalloc

import numpy as np
import pytest

from abaw_jax.weights.restricted_pickle import RefusedPickleError, read_pickled_npy


def npy(pickled):
    """The bytes of a 0-d ``.npy`` file around a pickle."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


class Malicious:
    """Its pickle calls ``open(path, "w")`` when an ordinary unpickler reads it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, protocol):
    witness, path = tmp_path / "executed", tmp_path / "sound8.npy"
    content = np.array({"conv1": {"weights": Malicious(witness)}}, object)
    path.write_bytes(npy(pickle.dumps(content, protocol)))
    with path.open("rb") as file, pytest.raises(RefusedPickleError, match="asks for"):
        read_pickled_npy(file)
    assert not witness.exists()
    # The trap is armed: NumPy itself would have sprung it.
    np.load(path, allow_pickle=True).item()["conv1"]["weights"].close()
    assert witness.exists()


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy\nndarray.tofile\n.", "numpy.ndarray.tofile"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.", "builtins.exec"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
    ],
)
def test_any_other_name_is_refused(attack, name):
    with pytest.raises(RefusedPickleError) as refusal:
        read_pickled_npy(io.BytesIO(npy(attack)))
    assert f"asks for {name}, " in str(refusal.value)
    assert "nothing in it was executed" in str(refusal.value)


def test_what_numpy_writes_today_is_read():
    file = io.BytesIO()
    layers = {"conv1": {"weights": np.asfortranarray(np.arange(6.0).reshape(2, 3))}}
    np.save(file, np.array(layers, object), allow_pickle=True)
    file.seek(0)
    weights = read_pickled_npy(file)["conv1"]["weights"]
    np.testing.assert_array_equal(weights, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "module", [b"numpy.core.multiarray", b"numpy._core.multiarray"]
)
def test_both_names_of_numpys_private_module_are_admitted(module):
    # Protocol 3 spells names as plain lines.
    text = pickle.dumps(np.array({"a": np.arange(3.0)}, object), protocol=3)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        text = text.replace(b"c" + name + b"\n", b"c" + module + b"\n")
    assert b"c" + module + b"\n" in text
    np.testing.assert_array_equal(
        read_pickled_npy(io.BytesIO(npy(text)))["a"], [0, 1, 2]
    )


def test_files_of_another_kind_are_named():
    for content, message in (
        (b"", "EOF"),
        (b"no magic at all", "magic string"),
        (npy(b"\x80\x04K"), "the pickle is damaged"),
        (npy(pickle.dumps(3)), "the pickle is damaged"),
    ):
        with pytest.raises(ValueError, match=message):
            read_pickled_npy(io.BytesIO(content))
    file = io.BytesIO()
    np.save(file, np.arange(3.0))
    file.seek(0)
    with pytest.raises(ValueError, match=r"an array \(3,\) of float64 is not"):
        read_pickled_npy(file)


def claiming(shape):
    """A pickle of an array of three numbers that claims to have another shape."""
    array = np.arange(3.0)
    function, arguments, state = array.__reduce__()

    class Claim:
        def __reduce__(self):
            return function, arguments, (state[0], shape, *state[2:])

    return pickle.dumps(np.array({"a": Claim()}, object), protocol=3)


@pytest.mark.parametrize(
    "attack",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x01.",  # remember an object by a large number
        b"cnumpy\nndarray\n(L300000000L\nV|u1\ntR.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x0f.",  # a frame of 2 ** 60 bytes
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.",  # text of 2 ** 48 bytes
        claiming((300_000_000,)),
        claiming((10**11, 10**11)),
        claiming((2,)),
    ],
    ids=["memo", "array", "frame", "bytes", "shape", "overflow", "less"],
)
def test_a_few_bytes_take_little_memory(attack):
    tracemalloc.start()
    with pytest.raises(ValueError, match="the pickle is damaged"):
        read_pickled_npy(io.BytesIO(npy(attack)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
