"""The loop: the same bits after a kill, best and latest kept, stops when it should."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from abaw_jax.json_files import write_json
from abaw_jax.pipeline.batches import plan, training_chunks
from abaw_jax.pipeline.items import feature_items
from abaw_jax.training.checkpoints import Checkpoints
from abaw_jax.training.job import Limits, Validation
from abaw_jax.training.loop import fit
from abaw_jax.training.networks import DamagedNetworkError, load_fitted, load_if_sound
from abaw_jax.training.state import take_member
from tests.support import tiny

pytestmark = pytest.mark.slow


def ignore(*_):
    pass


def fingerprint(directory: Path):
    """Everything a run leaves behind that must not depend on kills."""
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tiny.make_state()
    )
    with Checkpoints(
        directory / "checkpoints", tiny.SHARDINGS.replicated
    ) as checkpoints:
        state, best, record = checkpoints.restore_latest(like)
    bits = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state, best))]
    return bits, record, (directory / "metrics.jsonl").read_bytes()


def assert_same(one: Path, other: Path):
    for a, b in zip(fingerprint(one), fingerprint(other), strict=True):
        assert a == b


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    fit(tiny.make_state(), tiny.make_job(), directory, ignore)
    return directory


class Killed(Exception):
    pass


def stop_after(chunks):
    seen = 0

    def watch(*_):
        nonlocal seen
        seen += 1
        if seen == chunks:
            raise Killed

    return watch


@pytest.mark.parametrize("chunks", [1, 3, 4, 8])
def test_an_interrupted_run_ends_with_the_same_bits(finished, tmp_path, chunks):
    often = Limits(4, 9, checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        fit(
            tiny.make_state(),
            tiny.make_job(limits=often),
            tmp_path,
            stop_after(chunks),
        )
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert_same(finished, tmp_path)


def test_a_run_killed_anywhere_ends_with_the_same_bits(finished, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
    script = Path(__file__).parents[1] / "support" / "killed_run.py"
    program = [sys.executable, str(script), str(tmp_path)]
    # A copy of what the tests compiled: a kill may leave an entry half written.
    compiled = os.environ["JAX_COMPILATION_CACHE_DIR"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_COMPILATION_CACHE_DIR": shutil.copytree(compiled, tmp_path / "compiled"),
    }
    kills = 0
    for attempt in range(3):
        process = subprocess.Popen(program, env=environment)
        started = tmp_path / "started"
        while not started.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0.0, 1.2) if attempt < 2 else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        started.unlink(missing_ok=True)
    assert process.returncode == 0
    assert kills > 0
    assert_same(finished, tmp_path)


def test_a_finished_run_is_not_trained_again(finished):
    before = fingerprint(finished)
    again = fit(tiny.make_state(), tiny.make_job(), finished, pytest.fail).variables
    assert fingerprint(finished) == before
    like = take_member(tiny.make_variables(), 0)
    loaded = load_fitted(finished, like, 1, tiny.SHARDINGS)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_callers_state_stays_usable(tmp_path):
    state = tiny.make_state()
    fit(state, tiny.make_job(epochs=1), tmp_path, ignore)
    again = fit(state, tiny.make_job(epochs=1), tmp_path / "again", ignore).variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, again)))


def scripted(scores):
    """Validation with these scores, and the parameters it saw."""
    remaining, seen = iter(scores), []

    def validate(variables):
        seen.append(jax.tree.map(np.asarray, variables))
        score = next(remaining)
        return [Validation(score, {"va": score}, {"mtl": score})]

    return validate, seen


def test_the_best_epoch_is_handed_on_and_patience_ends_the_run(tmp_path):
    validate, seen = scripted([0.1, 0.5, 0.3, 0.2, 0.4, 0.6])
    job = tiny.make_job(epochs=6, patience=2, validate=validate)
    best = fit(tiny.make_state(), job, tmp_path, ignore).variables
    assert len(seen) == 4  # two epochs without a new best after the second
    for a, b in zip(jax.tree.leaves(best), jax.tree.leaves(seen[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_epoch_is_handed_on_if_asked_for(tmp_path):
    """As the authors do with their teacher."""
    validate, seen = scripted([0.5, 0.3, 0.2])
    job = tiny.make_job(epochs=3, validate=validate, keep="last")
    last = fit(tiny.make_state(), job, tmp_path, ignore).variables
    for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(seen[2]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_travels_between_host_and_device_within_a_call(tmp_path):
    """A call's rounds find everything there: state, table, chunk, weights, keys."""
    job, calls = tiny.make_job(), []

    def guarded(*arguments):
        for leaf in jax.tree.leaves(arguments):
            assert isinstance(leaf, jax.Array)
        with jax.transfer_guard("disallow"):
            calls.append(None)
            return job.step(*arguments)

    placed = jax.device_put(job.table, job.shardings.replicated)
    keys = jax.device_put(job.keys, job.shardings.members)
    job_guarded = replace(job, step=guarded, table=placed, keys=keys)
    fit(tiny.make_state(), job_guarded, tmp_path, ignore)
    assert len(calls) == 8


def test_every_chunk_and_epoch_is_logged_once(finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    chunks = [(r["epoch"], r["chunk"]) for r in records if "chunk" in r]
    per_epoch = tiny.make_schedule().chunks_per_epoch
    expected = [(e, c) for e in range(1, 5) for c in range(1, per_epoch + 1)]
    assert chunks == expected
    epochs = [r for r in records if "chunk" not in r]
    assert [r["epoch"] for r in epochs] == [1, 2, 3, 4]
    losses = [
        sum(v for k, v in r.items() if k.endswith("/loss"))
        for r in records
        if r["epoch"] == 2 and "chunk" in r
    ]
    assert epochs[1]["loss"] == pytest.approx(np.mean(losses))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killed")
    job = tiny.make_job(limits=Limits(4, 9, checkpoint_seconds=0.0))
    with pytest.raises(Killed):
        fit(tiny.make_state(), job, directory, stop_after(7))
    return directory


@pytest.fixture
def interrupted(killed, tmp_path):
    """The checkpoints of a run that was killed, the newest last."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    found = (tmp_path / "checkpoints").iterdir()
    return sorted(found, key=lambda path: int(path.name))


def empty(checkpoint):
    for file in (checkpoint / "optimizer").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def cut_the_largest(checkpoint):
    """Orbax raises a bare Exception for it."""
    files = [file for file in checkpoint.rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def cut_the_record(checkpoint):
    (checkpoint / "record" / "metadata").write_text('{"position": {"epo')


def change_one_bit(folder):
    """A value that Orbax reads without a word."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder)
        leaves, structure = jax.tree.flatten(tree)
        largest = max(range(len(leaves)), key=lambda k: leaves[k].size)
        changed = np.array(leaves[largest])
        changed.reshape(-1).view(np.uint8)[7] ^= 1
        leaves[largest] = changed
        tree = jax.tree.unflatten(structure, leaves)
        checkpointer.save(folder, tree, force=True)


def change_one_bit_of_the_optimizer(checkpoint):
    change_one_bit(checkpoint / "optimizer")


def change_the_position(checkpoint):
    path = checkpoint / "record" / "metadata"
    text = path.read_text()
    assert '"epoch": 2' in text
    path.write_text(text.replace('"epoch": 2', '"epoch": 3', 1))


def change_a_name(checkpoint):
    """Orbax then finds another network."""
    path = checkpoint / "model" / "_METADATA"
    text = path.read_text()
    assert "kernel" in text
    path.write_text(text.replace("kernel", "kermel"))


DAMAGES = [
    empty,
    cut_the_largest,
    cut_the_record,
    change_one_bit_of_the_optimizer,
    change_the_position,
    change_a_name,
]


# Orbax goes on reading other arrays after the first that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_kept_aside_and_the_one_before_it_taken(
    finished, interrupted, tmp_path, caplog, damage
):
    latest = interrupted[-1]
    damage(latest)
    held = {p.name: p.stat().st_size for p in latest.rglob("*") if p.is_file()}
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"The checkpoint {latest} ")
    assert f"is renamed to {latest.name}.unreadable, and training continues" in said
    aside = latest.with_name(f"{latest.name}.unreadable")
    assert held == {p.name: p.stat().st_size for p in aside.rglob("*") if p.is_file()}
    assert_same(finished, tmp_path)


def test_a_read_error_of_a_moment_deletes_no_checkpoint(
    finished, interrupted, tmp_path, monkeypatch
):
    latest = interrupted[-1]
    restore, calls = Checkpoints._restore, []

    def once_unreachable(self, step, like):
        calls.append(step)
        if len(calls) == 1:
            raise OSError("Stale file handle")
        return restore(self, step, like)

    monkeypatch.setattr(Checkpoints, "_restore", once_unreachable)
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert calls[0] == int(latest.name) > calls[1]
    assert (latest.with_name(f"{latest.name}.unreadable") / "optimizer").is_dir()
    monkeypatch.undo()
    assert_same(finished, tmp_path)


def test_a_checkpoint_that_may_not_be_read_is_no_damage(
    finished, interrupted, tmp_path, monkeypatch
):
    """Neither is one for which the process may not open enough files."""

    def refuse(self, step, like):
        raise ValueError("reading d/0 [OS error 24: EMFILE Too many open files]")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "_restore", refuse)
        with pytest.raises(OSError, match=r"Too many open files.* \(ulimit -n\)"):
            fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert {*interrupted[-1].parent.iterdir()} == {*interrupted}
    fit(tiny.make_state(), tiny.make_job(), tmp_path, ignore)
    assert_same(finished, tmp_path)


def test_a_damaged_network_is_named_and_made_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    like = take_member(tiny.make_variables(), 0)
    intact = load_fitted(tmp_path, like, 1, tiny.SHARDINGS)
    cut_the_largest(tmp_path / "networks" / "0")
    with pytest.raises(ValueError, match=r"networks/0 cannot be read .*makes it again"):
        load_fitted(tmp_path, like, 1, tiny.SHARDINGS)
    shutil.rmtree(tmp_path / "networks")
    with pytest.raises(ValueError, match="networks/0 cannot be read"):
        load_fitted(tmp_path, like, 1, tiny.SHARDINGS)
    assert_made_again(tmp_path, like, intact)
    change_one_bit(tmp_path / "networks" / "0")
    with pytest.raises(ValueError, match="networks/0 is not as it was written"):
        load_fitted(tmp_path, like, 1, tiny.SHARDINGS)
    assert_made_again(tmp_path, like, intact)
    digest = tmp_path / "networks" / "0.json"
    digest.write_text(digest.read_text().replace("a", "b"))
    assert_made_again(tmp_path, like, intact)
    digest.unlink()
    load_fitted(tmp_path, like, 1, tiny.SHARDINGS)  # of an earlier version
    write_json(tmp_path / "done.json", {})
    assert_made_again(tmp_path, like, intact)


def assert_made_again(directory, like, intact):
    said = []
    assert load_if_sound(directory, like, 1, tiny.SHARDINGS, said.append) is None
    assert len(said) == 1 and "networks/0" in said[0]
    fit(tiny.make_state(), tiny.make_job(), directory, pytest.fail)
    again = load_if_sound(directory, like, 1, tiny.SHARDINGS, pytest.fail)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(intact), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_network_without_checkpoints_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    like = take_member(tiny.make_variables(), 0)
    change_one_bit(tmp_path / "networks" / "0")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(DamagedNetworkError, match=r"written .*Delete .* trains it aga"):
        load_if_sound(tmp_path, like, 1, tiny.SHARDINGS, pytest.fail)


def test_a_network_without_a_digest_is_read_as_before(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "networks" / "0.json").unlink()
    like = take_member(tiny.make_variables(), 0)
    load_if_sound(tmp_path, like, 1, tiny.SHARDINGS, pytest.fail)


def test_a_run_without_a_readable_checkpoint_is_not_begun_again(interrupted, tmp_path):
    for checkpoint in interrupted:
        cut_the_largest(checkpoint)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"None of the 2 checkpoints .* can be re"):
            fit(tiny.make_state(), tiny.make_job(), tmp_path, pytest.fail)


def test_a_checkpoint_of_another_optimizer_is_refused_and_kept(interrupted, tmp_path):
    state = tiny.make_state(optimizer=tiny.PLAIN)
    with pytest.raises(ValueError, match=r"another network or optimizer: optimizer\."):
        fit(state, tiny.make_job(), tmp_path, pytest.fail)
    assert all((path / "optimizer").is_dir() for path in interrupted)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    table = tiny.make_table()
    job = tiny.make_job(table={**table, "sound": table["sound"] * np.nan})
    with pytest.raises(FloatingPointError, match=r"epoch 1 va/.* not finite"):
        fit(tiny.make_state(), job, tmp_path, ignore)


def other_samples():
    samples = dict(tiny.make_samples())
    samples["au"] = samples["au"].take(np.arange(32))
    return samples


FILL = feature_items(np.arange(tiny.ROWS, dtype=np.int32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (4,)}, r"seeds was \[3\], now \[4\]"),
        ({"batch_size": 12}, r"batch_sizes.va was 24, now 12"),
        ({"rounds_per_chunk": 4}, "rounds_per_chunk was 2, now 4"),
        ({"samples": other_samples()}, "rows.au was 33 frames, .*, now 32 frames"),
        ({"augment": lambda item, rng: item}, "augmented was False, now True"),
    ],
)
def test_a_place_in_other_rounds_is_refused(finished, changes, message):
    values = {"batch_size": 24, "rounds_per_chunk": 2, "seeds": (3,)} | changes
    samples = values.get("samples", tiny.make_samples())
    schedule = plan(
        {name: len(each) for name, each in samples.items()},
        batch_size=values["batch_size"],
        rounds_per_chunk=values["rounds_per_chunk"],
    )
    chunks = training_chunks(
        samples,
        FILL,
        schedule,
        epochs=4,
        seeds=values["seeds"],
        augment=values.get("augment"),
    )
    before = fingerprint(finished)
    job = tiny.make_job(chunks=chunks, schedule=schedule)
    with pytest.raises(ValueError, match=f"other rounds: .*{message}"):
        fit(tiny.make_state(), job, finished, pytest.fail)
    assert fingerprint(finished) == before


def test_threads_and_epochs_may_change_between_two_parts_of_a_run(finished):
    more = training_chunks(
        tiny.make_samples(),
        FILL,
        tiny.make_schedule(),
        epochs=9,
        seeds=(3,),
        threads=5,
    )
    fit(tiny.make_state(), tiny.make_job(chunks=more), finished, pytest.fail)
