"""Rounds: sizes, order, determinism, exact resumption, padding."""

from types import SimpleNamespace

import numpy as np
import pytest

from abaw_jax.pipeline.batch_order import BatchOrder
from abaw_jax.pipeline.batches import evaluation_chunks, plan, training_chunks
from abaw_jax.pipeline.items import (
    feature_items,
    frame_items,
    gather_features,
    gathered_items,
    media_items,
)
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import MISSING_ROW, Samples, Windows, evaluation_samples
from abaw_jax.store.frames import StoreError
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import SIZE, write_release

SIZES = {"va": 40, "expr": 17, "au": 30, "mtl": 8}


def make_samples(rows, first=0):
    """Samples whose labels and windows say which sample they are."""
    number = np.arange(first, first + rows)
    return Samples(
        subject=np.zeros(rows, np.int32),
        image_rows=np.stack([number, number], axis=1).astype(np.int32),
        sound_end=number,
        va=np.stack([number, -number], axis=1).astype(np.float32),
        va_where=np.ones(rows, bool),
        expr=(number % 8).astype(np.int32),
        expr_where=np.ones(rows, bool),
        au=np.zeros((rows, 12), np.uint8),
        au_where=np.ones((rows, 12), bool),
    )


SAMPLES = {name: make_samples(rows) for name, rows in SIZES.items()}
FILL = feature_items(np.arange(100, dtype=np.int32))


def chunks(epochs=3, seed=0, threads=2, batch_size=8):
    schedule = plan(SIZES, batch_size=batch_size, rounds_per_chunk=2)
    return schedule, training_chunks(
        SAMPLES, FILL, schedule, epochs=epochs, seeds=(seed,), threads=threads
    )


def order(dataset, name="va"):
    return np.concatenate([chunk[name]["va"][..., 0].ravel() for chunk in dataset])


def test_an_epoch_passes_once_over_the_largest_set():
    # ceil(40 / 8) = 5 rounds, in ceil(5 / 2) = 3 chunks of 2, so 6 rounds.
    schedule = plan(SIZES, batch_size=8, rounds_per_chunk=2)
    assert (schedule.chunks_per_epoch, schedule.rounds_per_chunk) == (3, 2)
    assert schedule.batch_sizes == {"va": 6, "expr": 2, "au": 5, "mtl": 1}


def test_equal_batches():
    equal = plan(SIZES, batch_size=8, rounds_per_chunk=9, proportional=False)
    assert set(equal.batch_sizes.values()) == {8}


def test_a_set_without_samples_is_left_out():
    schedule = plan({"va": 40, "expr": 0}, batch_size=8, rounds_per_chunk=9)
    assert list(schedule.batch_sizes) == ["va"]
    with pytest.raises(ValueError, match="complete window"):
        plan({"va": 0}, batch_size=8, rounds_per_chunk=9)


def test_a_set_too_small_for_its_share_is_named():
    with pytest.raises(ValueError, match="mtl has 3 samples, too few"):
        plan({"va": 1000, "mtl": 3}, batch_size=8, rounds_per_chunk=9)


def test_shapes_and_origin():
    schedule, dataset = chunks()
    first = next(iter(dataset))
    for name, rows in schedule.batch_sizes.items():
        assert first[name]["image_rows"].shape == (2, 1, rows, 2)
        assert first[name]["au_where"].shape == (2, 1, rows, 12)
    assert len(list(dataset)) == 3 * schedule.chunks_per_epoch


def test_no_two_sets_share_an_order_whatever_the_seeds():
    """The order of one set by one seed was that of the next set by the seed before."""
    orders = [
        tuple(BatchOrder(500, 50, 10, (seed, index))[0])
        for seed in range(4)
        for index in range(4)
    ]
    assert len(set(orders)) == 16
    same = {"va": SAMPLES["va"], "expr": SAMPLES["va"]}
    schedule = plan({"va": 99, "expr": 99}, batch_size=8, rounds_per_chunk=1)
    first, second = (
        next(iter(training_chunks(same, FILL, schedule, epochs=1, seeds=(seed,))))
        for seed in (0, 1)
    )
    assert (first["expr"]["row"] != second["va"]["row"]).any()


def test_a_pass_visits_every_sample_once_and_the_next_in_another_order():
    _, dataset = chunks(epochs=3)
    seen = order(dataset).astype(int)
    first, second = seen[:40], seen[40:80]
    assert sorted(first) == sorted(second) == list(range(40))
    assert list(first) != list(second)


def test_order_depends_on_the_seed_only():
    first = order(chunks(seed=1)[1])
    np.testing.assert_array_equal(first, order(chunks(seed=1, threads=4)[1]))
    assert (first != order(chunks(seed=2)[1])).any()


def test_going_on_from_a_state_gives_the_exact_next_chunk():
    _, dataset = chunks()
    iterator = iter(dataset)
    next(iterator), next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(4)]
    again = iter(chunks()[1])
    again.set_state(state)
    for chunk in expected:
        np.testing.assert_array_equal(chunk["au"]["va"], next(again)["au"]["va"])


def test_labels_travel_with_their_windows():
    _, dataset = chunks()
    for chunk in dataset:
        for item in chunk.values():
            np.testing.assert_array_equal(
                item["image_rows"][..., 0], item["va"][..., 0]
            )
            np.testing.assert_array_equal(item["sound_row"], item["va"][..., 0])


@pytest.mark.parametrize("parts", [1, 3])
def test_processes_fill_their_own_rows_of_the_same_batches(parts):
    """Whatever the number of processes, their rows together are the same batches."""

    def own(part):
        return lambda size: slice(part * size // parts, (part + 1) * size // parts)

    schedule, whole = chunks()
    shares = [
        training_chunks(
            SAMPLES, FILL, schedule, epochs=3, seeds=(0,), process_rows=own(part)
        )
        for part in range(parts)
    ]
    for chunk, *each in zip(whole, *shares, strict=True):
        for name, item in chunk.items():
            for key, values in item.items():
                joined = np.concatenate([part[name][key] for part in each], axis=2)
                np.testing.assert_array_equal(joined, values)
    settings = {"batch_size": 3, "batches_per_chunk": 2}
    whole = evaluation_chunks(SAMPLES["va"], FILL, **settings)
    shares = [
        evaluation_chunks(SAMPLES["va"], FILL, process_rows=own(part), **settings)
        for part in range(parts)
    ]
    for chunk, *each in zip(whole, *shares, strict=True):
        for key, values in chunk.items():
            joined = np.concatenate([part[key] for part in each], axis=1)
            np.testing.assert_array_equal(joined, values)


def test_evaluation_is_in_order_and_its_padding_is_masked():
    samples = make_samples(11)
    parts = list(evaluation_chunks(samples, FILL, batch_size=3, batches_per_chunk=2))
    assert [part["va"].shape for part in parts] == [(2, 3, 2)] * 2
    valid = np.concatenate([part["valid"].ravel() for part in parts])
    assert valid.tolist() == [True] * 11 + [False]
    for key in ("va_where", "expr_where", "au_where"):
        masks = np.concatenate([part[key].reshape(6, -1) for part in parts])
        assert masks[:11].all() and not masks[11:].any()
    rows = np.concatenate([part["image_rows"][..., 1].ravel() for part in parts])
    assert rows[:11].tolist() == list(range(11))


def test_features_gathered_on_the_host_and_on_the_device_are_the_same():
    rng = np.random.default_rng(0)
    table = {"image": rng.random((30, 5)), "sound": rng.random((10, 3))}
    samples = make_samples(8)
    samples.image_rows[3, 0] = MISSING_ROW
    sound_rows, lost = np.arange(30, dtype=np.int32) // 3, np.arange(30) == 6
    host = gathered_items(table["image"], table["sound"], sound_rows, lost)(samples)
    item = feature_items(sound_rows, lost)(samples)
    wide = {key: np.pad(each, ((0, 0), (0, 4))) for key, each in table.items()}
    device = gather_features(wide, item, widths=(5, 3), zeros=True)
    assert host.keys() == device.keys()
    for key, values in host.items():
        np.testing.assert_array_equal(values, device[key], err_msg=key)
    assert not host["readable"][6] and not host["image"][3, 0].any()


def test_a_missing_image_is_a_feature_of_zeros_or_a_black_frame():
    table = {"image": np.ones((4, 2)), "sound": np.ones((1, 3))}
    item = {"image_rows": np.array([[MISSING_ROW, 3]]), "sound_row": np.array([0])}
    batch = gather_features(table, item, zeros=True)
    assert batch["image"].tolist() == [[[0, 0], [1, 1]]]
    store = SimpleNamespace(
        image_size=2,
        subjects=[SimpleNamespace(first_row=0), SimpleNamespace(first_row=4)],
        frames=lambda index: np.full((4, 2, 2, 3), 7 + index, np.uint8),
    )
    samples = make_samples(2)
    samples.image_rows[:] = [[MISSING_ROW, 1], [5, MISSING_ROW]]
    samples.subject[:] = [0, 1]
    frames = frame_items(store)(samples)["frames"]
    assert frames.dtype == np.uint8
    assert frames[..., 0, 0, 0].tolist() == [[0, 7], [8, 0]]


def test_features_are_gathered_by_row():
    table = {
        "image": np.arange(50).reshape(25, 2),
        "sound": np.arange(75).reshape(25, 3),
    }
    item = {
        "image_rows": np.array([[0, 3], [7, 7]]),
        "sound_row": np.array([24, 1]),
        "expr": np.array([1, 2]),
    }
    batch = gather_features(table, item)
    assert batch["image"].tolist() == [[[0, 1], [6, 7]], [[14, 15], [14, 15]]]
    assert batch["sound"].tolist() == [[72, 73, 74], [3, 4, 5]]
    assert batch["expr"].tolist() == [1, 2] and "sound_row" not in batch


def test_media_are_those_of_the_store(tmp_path):
    prepare(write_release(tmp_path / "release"), tmp_path / "store", image_size=SIZE)
    store = open_store(tmp_path / "store")
    windows = Windows(images=2, stride=3, sound_seconds=0.4)
    labels = store.labels("va", "train")
    samples = evaluation_samples(store, labels, windows).take(np.array([9, 0, 4]))
    item = media_items(store, windows)(samples)
    images = np.concatenate([store.frames(i) for i in range(len(store.subjects))])
    np.testing.assert_array_equal(item["frames"], images[samples.image_rows])
    assert len(np.unique(item["frames"][:, -1, 0, 0], axis=0)) == 3
    length = round(0.4 * store.sample_rate)
    silence = np.zeros(length, np.int16)
    # All three are frames of alpha: the first subject, with a tone from its start on.
    sound = np.concatenate([silence, store.sound(0), silence])
    ends = [round((frame - 1) / 10 * store.sample_rate) for frame in (11, 1, 6)]
    cuts = [sound[end : end + length] for end in ends]
    np.testing.assert_array_equal(item["waveform"], cuts)
    assert not item["waveform"][1].any() and item["waveform"][0].std() > 1000


@pytest.fixture
def damaged(tmp_path):
    """A store of JPEGs in which a crop of alpha and the sound of beta are damaged."""
    prepare(
        write_release(tmp_path / "release"),
        tmp_path / "store",
        image_size=SIZE,
        images="jpeg",
    )
    store = open_store(tmp_path / "store", "never")
    alpha = tmp_path / "store" / "subjects" / "alpha"
    ends = np.load(alpha / "ends.npy")
    with open(alpha / "jpegs.npy", "r+b") as file:
        file.seek(-(int(ends[-1]) - int(ends[3])), 2)
        file.write(bytes(int(ends[4] - ends[3])))  # the fifth crop, frame 6
    (tmp_path / "store" / "sound" / "beta.npy").unlink()
    return store


def test_a_damaged_record_is_masked_reported_and_harms_no_neighbour(damaged, tmp_path):
    windows = Windows(images=2, stride=1, sound_seconds=0.2, sound_pad="zero")
    samples = {
        name: evaluation_samples(damaged, damaged.labels(name, "train"), windows)
        for name in ("va", "au")
    }
    (tmp_path / "whole").mkdir()
    prepare(
        tmp_path / "release", tmp_path / "whole" / "s", image_size=SIZE, images="jpeg"
    )
    whole = open_store(tmp_path / "whole" / "s")
    messages = []
    unreadable = ReadErrorLog(messages.append)
    for name, each in samples.items():
        found = evaluation_chunks(
            each,
            media_items(damaged, windows, unreadable),
            batch_size=5,
            batches_per_chunk=1,
        )
        expected = evaluation_chunks(
            each, media_items(whole, windows), batch_size=5, batches_per_chunk=1
        )
        for chunk, other in zip(found, expected, strict=True):
            masks = [k for k in chunk if k.endswith("where")]
            lost = np.zeros(5, bool)
            if name == "va":  # windows of alpha that show frame 6: those of 6 and 7
                rows = each.image_rows[:, :] == 4
                number = np.flatnonzero(rows.any(1))
                assert len(number) == 2
                lost = np.isin(chunk["row"][0], number) & chunk["valid"][0]
            else:
                lost[:] = True
            for key in masks:
                assert not chunk[key][0][lost].any()
                np.testing.assert_array_equal(
                    chunk[key][0][~lost], other[key][0][~lost]
                )
            for key in ("frames", "waveform"):
                np.testing.assert_array_equal(
                    chunk[key][0][~lost], other[key][0][~lost]
                )
    assert len(messages) == 2
    assert "frame 6 of alpha" in messages[0] and "sound/beta.npy" in messages[1]
    assert unreadable.summary().startswith("2 records of the store could not be read")


def test_a_damaged_record_ends_a_run_that_does_not_mask(damaged):
    windows = Windows(images=2, stride=1, sound_seconds=0.2)
    samples = evaluation_samples(damaged, damaged.labels("va", "train"), windows)
    with pytest.raises(StoreError, match="frame 6 of alpha"):
        frame_items(damaged)(samples)


def test_windows_of_features_that_were_lost_are_masked():
    lost = np.zeros(100, bool)
    lost[[3, 7]] = True
    samples = make_samples(10)
    samples.image_rows[4] = [3, 4]  # shows a lost one earlier
    chunk = next(
        iter(
            evaluation_chunks(
                samples,
                feature_items(np.arange(100), lost),
                batch_size=10,
                batches_per_chunk=1,
            )
        )
    )
    assert np.flatnonzero(~chunk["va_where"][0]).tolist() == [3, 4, 7]
    assert np.flatnonzero(~chunk["au_where"][0].all(1)).tolist() == [3, 4, 7]
