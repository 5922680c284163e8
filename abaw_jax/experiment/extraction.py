"""Makes the files of one stream's features: reads or encodes subject after subject.

Files are written atomically, so a killed extraction goes on with the next subject. One
that is damaged is made again, as is one of which something could not be read.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.disk_space import explained, require_space
from abaw_jax.experiment import feature_files, model_factory
from abaw_jax.experiment.encoding import Encoded
from abaw_jax.experiment.feature_files import DamagedFeaturesError
from abaw_jax.experiment.run import Run
from abaw_jax.json_files import read_json, write_json
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.report import console
from abaw_jax.training.processes import SECONDS_BETWEEN_LOOKS, process_slice

EncodeSubject = Callable[[int, ReadErrorLog], Encoded]
Put = Callable[[int, np.ndarray], None]
"""Takes the features of a subject, given by its number."""


@dataclass(frozen=True)
class Stage:
    """The features of one stream.

    Attributes:
      title: for the progress bar.
      count: rows of a subject.
      compile: makes the encoder a function of subjects; called if there is any to
        encode.
    """

    title: str
    count: Callable[[int], int]
    compile: Callable[[], EncodeSubject]


def incomplete(directory: Path) -> list[Path]:
    """Marks of the subjects of which something could not be read.

    One process tries them again; of several, each would see other features.
    """
    return [*directory.glob("*.unread")] if jax.process_count() == 1 else []


def every_subject(
    run: Run, directory: Path, stage: Stage, put: Put, *, complete: bool
) -> None:
    """Puts the features of all subjects; the processes of a run share the encoding.

    Args:
      run: its store has the subjects.
      directory: gets a file for each of them.
      stage: encodes them.
      put: is called for each of them.
      complete: no file should be missing.
    """
    total = len(run.store.subjects)
    own = process_slice(total)
    some_subjects(run, directory, stage, own, put, complete=complete)
    for index in set(range(total)).difference(own):
        put(index, _wait_for(_path(run, directory, index), stage.count(index)))


def some_subjects(
    run: Run,
    directory: Path,
    stage: Stage,
    chosen: Iterable[int],
    put: Put,
    *,
    complete: bool,
) -> None:
    """Puts features of the chosen subjects: read, or encoded where that is to be done.

    Args:
      run: as of `every_subject`.
      directory: as of `every_subject`.
      stage: as of `every_subject`.
      chosen: numbers of the subjects; files of others are not looked at.
      put: as of `every_subject`.
      complete: as of `every_subject`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    again = incomplete(directory)
    to_do: dict[int, Path] = {}
    for index in chosen:
        path, rows = _path(run, directory, index), stage.count(index)
        try:
            if _mark(path) in again:
                to_do[index] = path
            else:
                put(index, feature_files.load(path, rows))
        except DamagedFeaturesError as error:
            to_do[index] = path
            if complete or path.exists():
                console.warn(f"{error}: it is made again.")
    if to_do:
        if not complete:
            _require_same_type(run, directory)
        _encode(to_do, stage, put)


_TYPE = "dtype.json"
"""File with the type in which the products of unfinished features are computed."""


def forget_type(directory: Path) -> None:
    """Removes what `some_subjects` notes for others that encode a part."""
    (directory / _TYPE).unlink(missing_ok=True)


def _require_same_type(run: Run, directory: Path) -> None:
    """Refuses to encode beside features that were computed in another type.

    ``config.dtype="auto"`` is another one on another device, as of another shard.

    Raises:
      ValueError: says both types and what to do.
    """
    path = directory / _TYPE
    own = jnp.dtype(model_factory.compute_dtype(run.config)).name
    found = read_json(path)
    if found is None:
        write_json(path, {"dtype": own}, writer=uuid.uuid4().hex)
    elif "dtype" not in found:
        raise ValueError(
            f"{path} does not say in which type the features beside it were computed: "
            f"delete {directory}, and they are made again."
        )
    elif found["dtype"] != own:
        raise ValueError(
            f"{directory} has features that were computed in {found['dtype']}, and on "
            f"this device config.dtype=auto is {own}: go on where it is "
            f"{found['dtype']}, or delete {directory} and name one type for all "
            "devices, --config.dtype=float32."
        )


def _path(run: Run, directory: Path, index: int) -> Path:
    return directory / f"{run.store.subjects[index].name}.npy"


def _wait_for(path: Path, rows: int) -> np.ndarray:
    """What another process writes."""
    while True:
        try:
            return feature_files.load(path, rows)
        except DamagedFeaturesError:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _encode(paths: Mapping[int, Path], stage: Stage, put: Put) -> None:
    """Encodes some subjects and writes their files."""
    unreadable = ReadErrorLog(console.warn)
    encode_subject = stage.compile()
    rows, what = sum(map(stage.count, paths)), f"a folder of {stage.title}"
    with console.progress(stage.title, len(paths)) as update:
        for done, (index, path) in enumerate(paths.items(), start=1):
            found, lost = encode_subject(index, unreadable)
            needed = found[:1].nbytes * rows
            if done == 1:
                require_space(path.parent, needed, what)
            with explained(path.parent, needed, what):
                feature_files.save(path, found)
            put(index, found)
            _mark(path).touch() if lost else _mark(path).unlink(missing_ok=True)
            update(done)


def _mark(path: Path) -> Path:
    """Says that something of a subject could not be read."""
    return path.with_suffix(".unread")
