"""Compares every file of a store, a run or a model folder with its digest."""

from collections.abc import Iterator
from pathlib import Path

from abaw_jax.experiment import feature_files, result_files
from abaw_jax.inference import model_folder, table_record
from abaw_jax.json_files import is_damaged, is_sealed, read_json
from abaw_jax.store import reader
from abaw_jax.store.options import OPTIONS
from abaw_jax.training.metrics_log import log_damage
from abaw_jax.training.stored_arrays import checkpoint_damage, network_damage

Finding = tuple[Path, str]
"""A file or folder, and what is wrong with it; "" if it is as it was written."""


def verify(path: Path) -> Iterator[Finding]:
    """Every file below a folder whose digest is known.

    A checkpoint or a network is one folder. What earlier versions wrote without digests
    is left out.

    Args:
      path: of a store, a run, a model folder, or the tables of predict.

    Raises:
      ValueError: if it is none of them.
    """
    if (path / reader.MANIFEST).is_file():
        yield from _verify_store(path)
    elif (path / model_folder.CONTRACT).is_file():
        yield from _verify_model(path)
    elif path.is_dir():
        if _is_begun_store(path):
            yield path / reader.MANIFEST, _UNFINISHED
        yield from _verify_run(path)
    else:
        raise ValueError(f"{path} is no folder: name a store, a run or a model folder.")


_UNFINISHED = (
    "is missing, so the store is unfinished: run the command that packs it again; it "
    "continues where it stopped (with --shards, run --merge when all are packed)"
)


def _is_begun_store(path: Path) -> bool:
    """True for a folder with the options of a store, or with records of its pieces."""
    kept = (OPTIONS, "subjects/*/record.json", "sound/*.json")
    return any(any(path.glob(pattern)) for pattern in kept)


def _verify_store(path: Path) -> Iterator[Finding]:
    damaged = set(reader.damaged_files(path))
    for name in reader.read_manifest(path)["files"]:
        yield path / name, "is not as it was written" if name in damaged else ""
    pieces = sorted(path.glob("s*/**/*.json"))
    for record in (*path.glob(OPTIONS), *pieces):
        if (changed := is_damaged(record)) is not None:
            yield record, "is not as it was written" if changed else ""


def _verify_model(path: Path) -> Iterator[Finding]:
    contract = model_folder.read_contract(path)
    damaged = model_folder.damaged_files(path, contract)
    for name in contract["files"]:
        yield path / name, damaged.get(name, "")


def _verify_run(path: Path) -> Iterator[Finding]:
    for each in sorted(path.iterdir()):
        if each.is_dir():
            yield from _verify_folder(each)
        elif each.suffix == ".sha256":
            array = each.with_suffix(".npy")
            yield array, feature_files.damage(array)
        elif _lost_its_digest(each):
            yield each, "has lost its digest"
        elif each.suffix == ".json" and (damaged := is_damaged(each)) is not None:
            yield each, "is not as it was written" if damaged else ""
        if path.name == "networks" and each.suffix == ".json":
            if not (network := each.with_suffix("")).exists():
                yield network, "is missing"
    checksum = (read_json(path / "done.json") or {}).get("log_checksum")
    if checksum is not None:
        yield path / "metrics.jsonl", log_damage(path / "metrics.jsonl", checksum)
    yield from table_record.damages(path)
    if files := (read_json(path / "result.json") or {}).get("files"):
        damaged = result_files.damaged_files(path, files)
        for name in files:
            yield path / name, "is not as it was written" if name in damaged else ""


def _lost_its_digest(path: Path) -> bool:
    """True of features whose digest was deleted; earlier versions wrote none."""
    digest = path.with_suffix(".sha256")
    finished = is_sealed(path.with_name("done.json"))
    return path.suffix == ".npy" and finished and not digest.exists()


def _verify_folder(path: Path) -> Iterator[Finding]:
    if (path / reader.MANIFEST).is_file():
        yield from _verify_store(path)
    elif path.parent.name == "checkpoints":
        damage = checkpoint_damage(path) if path.name.isdigit() else None
        yield from [] if damage is None else [(path, damage)]
    elif path.parent.name == "networks":
        digest = path.with_name(f"{path.name}.json")
        known = digest.exists() or is_sealed(path.parent.with_name("done.json"))
        yield from [(path, network_damage(path))] if known else []
    elif path.name != "release":  # it has no digests, and millions of files
        yield from _verify_run(path)
