import json
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.training.metrics_log import (
    EventLog,
    MetricsLog,
    log_damage,
    mean_of,
    read_metrics,
)

RECORDS = [
    {"loss": 0.1, "epoch": 1},
    {"epoch": 2, "loss": 1e-17, "scores": {"va": 1 / 3, "au": np.float32(0.1)}},
]
BYTES = (
    b'{"epoch": 1, "loss": 0.1}\n'
    b'{"epoch": 2, "loss": 1e-17, "scores": '
    b'{"au": 0.10000000149011612, "va": 0.3333333333333333}}\n'
)


def write(path, records, offset=None):
    with MetricsLog(path, offset) as log:
        for record in records:
            log.write(record)
        return log.offset


def test_bytes_depend_on_the_records_alone(tmp_path):
    write(tmp_path / "a" / "metrics.jsonl", RECORDS)
    shuffled = [dict(reversed(record.items())) for record in RECORDS]
    write(tmp_path / "b.jsonl", shuffled)

    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == BYTES
    assert (tmp_path / "b.jsonl").read_bytes() == BYTES


def test_a_killed_run_that_resumes_leaves_the_same_bytes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    offset = write(path, RECORDS[:1])
    # What was written after the checkpoint, its last line torn by the kill.
    with path.open("ab") as file:
        file.write(b'{"epoch": 2, "loss": 7.0}\n' * 9 + b'{"epo')

    end = write(path, RECORDS[1:], offset)

    assert path.read_bytes() == BYTES
    assert (offset, end) == (BYTES.index(b"\n") + 1, len(BYTES))


def test_offset_counts_what_the_file_already_holds(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(RECORDS[0])
    assert log.offset == len(path.read_bytes()) == BYTES.index(b"\n") + 1
    log.close()
    log.close()


def test_without_an_offset_every_complete_line_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(BYTES[: BYTES.index(b"\n") + 1] + b'{"torn": ')
    write(path, RECORDS[1:])
    assert path.read_bytes() == BYTES


def test_a_file_shorter_than_its_checkpoint_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(BYTES)
    with pytest.raises(ValueError, match=rf"{len(BYTES)} bytes.*had {len(BYTES) + 1}"):
        MetricsLog(path, len(BYTES) + 1)
    assert path.read_bytes() == BYTES


def test_a_changed_log_is_continued_after_a_warning(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    write(path, RECORDS)
    whole = zlib.crc32(BYTES)
    offset = BYTES.index(b"\n") + 1
    assert log_damage(path, whole) == ""

    path.write_bytes(BYTES.replace(b"0.1}", b"0.2}", 1))
    assert "was changed since it was written" in log_damage(path, whole)
    with MetricsLog(path, offset, zlib.crc32(BYTES[:offset])) as log:
        for record in RECORDS[1:]:
            log.write(record)
        assert log.checksum == whole  # so that the end of the stage tells it too
    assert f"{path} was changed" in caplog.text
    assert "was changed" in log_damage(path, log.checksum)
    path.unlink()
    assert log_damage(path, whole) == f"{path} is missing"


def test_arrays_and_numbers_without_a_json_word(tmp_path):
    path = tmp_path / "metrics.jsonl"
    values = {
        "inf": float("inf"),
        "nan": np.array([np.nan, 1.0]),
        "device": jnp.array(2.5, jnp.bfloat16),
        "count": np.int64(3),
        "flag": np.True_,
        "name": "teacher",
        "none": None,
        "pair": (1, -np.inf),
    }
    write(path, [values])

    # A strict reader: the words NaN and Infinity, which Python admits, are errors.
    def refuse(word):
        raise AssertionError(word)

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "inf": None,
        "nan": [None, 1.0],
        "device": 2.5,
        "count": 3,
        "flag": True,
        "name": "teacher",
        "none": None,
        "pair": [1, None],
    }
    assert read_metrics(path)[0]["device"] == 2.5


def test_reading_skips_a_torn_end_and_names_a_damaged_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(BYTES + b'{"epo')
    assert [record["epoch"] for record in read_metrics(path)] == [1, 2]

    path.write_bytes(BYTES + b"oops\n")
    with pytest.raises(ValueError, match="line 3"):
        read_metrics(path)


def event_scalars(directory):
    """Reads event files by their format: length, checksum, protobuf, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.iterdir()):
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            event = Event.FromString(data[start + 12 : start + 12 + length])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            start += length + 16
    return found


def test_events_read_back(tmp_path):
    log = EventLog(tmp_path / "events")
    log.scalars(1, {"loss": 0.5, "va": np.float32(0.25)})
    log.scalars(2, {"loss": float("nan"), "va": 0.75})
    log.close()

    assert event_scalars(tmp_path / "events") == [
        ("loss", 1, 0.5),
        ("va", 1, 0.25),
        ("va", 2, 0.75),
    ]


def test_events_are_on_disk_after_each_epoch(tmp_path):
    """A process that SIGTERM ends closes nothing."""
    events = EventLog(tmp_path)
    events.scalars(1, {"loss": 0.5})
    (file,) = tmp_path.iterdir()
    assert b"loss" in file.read_bytes()
    events.close()


def test_a_mean_leaves_out_what_is_not_finite():
    members = [{"loss": 1.0, "mtl": None}, {"loss": 3.0, "mtl": 0.5}, {"loss": np.nan}]
    assert mean_of(members) == {"loss": 2.0, "mtl": 0.5}
