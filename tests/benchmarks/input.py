"""How fast windows reach the trainer, against the usual way to write a dataset.

Draws a small release of its own. Every file is in memory when it is timed, so these are
the costs of decoding and copying, not of the disk.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import librosa
import numpy as np
import soundfile
from PIL import Image

from abaw_jax import synthetic
from abaw_jax.pipeline.batches import Schedule, plan, training_chunks
from abaw_jax.pipeline.items import feature_items, frame_items, media_items, sound_items
from abaw_jax.pipeline.windows import Samples, Windows, training_samples
from abaw_jax.report import console
from abaw_jax.store.reader import Store, open_store
from abaw_jax.store.writer import prepare
from abaw_jax.tasks import SETS
from tests.benchmarks import timing
from tests.support.large_store import FRAMES, write_large_store

RELEASE = synthetic.SyntheticSettings(
    train_subjects=6,
    validation_subjects=1,
    crop_size=112,
    missing_faces=0.0,
    quirks=False,
)
WINDOWS = Windows()
BATCH, BATCHES = 16, 16
TITLE = "Input"


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """Images, sound, both in batches, and indices at Aff-Wild2's size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = Corpus(folder)
        for topic in (image_windows, sound_windows, batches):
            yield topic(corpus, repetitions)
        yield sampling(folder, repetitions)


class Files:
    """The windows of a release as a PyTorch user would write them: one file at a time.

    Sound comes from ``.wav`` files at 44.1 kHz that were extracted beforehand, since
    reading the videos would be slower still.
    """

    def __init__(self, release: Path, sounds: Path, store: Store, samples: Samples):
        self.samples = samples
        self.release, self.sounds = release, sounds
        self.names = [subject.name for subject in store.subjects]
        self.videos = [subject.video for subject in store.subjects]
        self.starts = [subject.first_row for subject in store.subjects]
        self.numbers = [store.numbers(index) for index in range(len(self.names))]
        self.rate = store.sample_rate

    def __len__(self) -> int:
        return len(self.samples)

    def images(self, row: int) -> np.ndarray:
        """Six crops, uint8 ``[6, 112, 112, 3]``."""
        subject = self.samples.subject[row]
        folder = self.release / "cropped_aligned" / self.names[subject]
        places = self.samples.image_rows[row] - self.starts[subject]
        paths = [folder / f"{self.numbers[subject][p]:05d}.jpg" for p in places]
        return np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])

    def sound(self, row: int) -> np.ndarray:
        """Ten seconds, float32 ``[220500]``."""
        path = self.sounds / f"{self.videos[self.samples.subject[row]]}.wav"
        length = WINDOWS.sound_seconds
        # librosa cuts the offset down to a whole sample, the one before if rounded.
        offset = self.samples.sound_end[row] / self.rate - length + 1e-6
        sound, _ = librosa.load(path, sr=self.rate, offset=offset, duration=length)
        return librosa.util.fix_length(sound, size=round(length * self.rate))

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        labels = {
            f"{task}{kind}": np.asarray(getattr(self.samples, f"{task}{kind}")[row])
            for task in ("va", "expr", "au")
            for kind in ("", "_where")
        }
        media = {"frames": self.images(row), "waveform": self.sound(row)}
        return media | labels | {"row": np.asarray(row)}


class Corpus:
    """A drawn release, its store, and the windows of its valence-arousal set."""

    def __init__(self, folder: Path) -> None:
        with console.progress("videos", 0) as update:
            synthetic.write_release(
                folder / "release", RELEASE, seed=0, progress=update
            )
        prepare(folder / "release", folder / "store")
        self.store = open_store(folder / "store")
        labels = self.store.labels("va", "train")
        self.samples = training_samples(self.store, labels, WINDOWS)
        (folder / "wav").mkdir()
        for video in sorted(folder.glob("release/batch*/*")):
            extract_sound(video, folder / "wav" / f"{video.stem}.wav")
        self.files = Files(folder / "release", folder / "wav", self.store, self.samples)


def extract_sound(video: Path, path: Path) -> None:
    """What ``ffmpeg -i video -ar 44100 path`` writes, all channels in 16 bit."""
    resampler = av.AudioResampler(format="s16", rate=44_100)
    with av.open(str(video)) as container:
        channels = container.streams.audio[0].channels
        frames = [*container.decode(audio=0), None]
        blocks = [b.to_ndarray() for f in frames for b in resampler.resample(f)]
    sound = np.concatenate(blocks, axis=1).reshape(-1, channels)
    soundfile.write(path, sound, 44_100)


def check_same_sound(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Two resamplers apart, and theirs knows nothing outside its window."""
    inner = slice(1000, -1000)
    ours = ours[inner] / 32768
    error = np.sqrt(np.mean((ours - theirs[inner]) ** 2) / np.mean(ours**2))
    assert error < 0.02, f"the sounds differ by {error:.1%}"


def image_windows(corpus: Corpus, repetitions: int) -> timing.Comparison:
    """Six crops of 112 pixels a window, one thread."""
    files, fill = corpus.files, frame_items(corpus.store)
    rows = np.random.default_rng(0).permutation(len(files))[: BATCH * BATCHES]
    picked = [corpus.samples.take(part) for part in np.split(rows, BATCHES)]
    expected = np.stack([files.images(row) for row in rows])
    found = np.concatenate([fill(part)["frames"] for part in picked])
    np.testing.assert_array_equal(found, expected)

    def theirs() -> int:
        return len([files.images(row) for row in rows])

    def ours() -> int:
        return sum(len(fill(part)["frames"]) for part in picked)

    return timing.compare(
        "images",
        "a window of six crops, against Pillow reading six JPEG files; one thread",
        target=5,
        theirs=theirs,
        ours=ours,
        repetitions=repetitions,
    )


def sound_windows(corpus: Corpus, repetitions: int) -> timing.Comparison:
    """Ten seconds of sound a window, one thread."""
    files, fill = corpus.files, sound_items(corpus.store, WINDOWS)
    rows = np.random.default_rng(0).permutation(len(files))[: BATCH * BATCHES]
    picked = [corpus.samples.take(part) for part in np.split(rows, BATCHES)]
    for row, window in zip(rows, fill(picked[0])["waveform"], strict=False):
        check_same_sound(window, files.sound(row))

    def theirs() -> int:
        return len([files.sound(row) for row in rows[: 2 * BATCH]])

    def ours() -> int:
        return sum(len(fill(part)["waveform"]) for part in picked)

    return timing.compare(
        "sound",
        "a window of 10 s, against librosa.load from a 44.1 kHz .wav; one thread",
        target=200,
        theirs=theirs,
        ours=ours,
        repetitions=repetitions,
    )


def batches(corpus: Corpus, repetitions: int) -> timing.Comparison:
    """Images, sound and labels in batches, two workers against two threads."""
    from torch.utils.data import DataLoader, RandomSampler

    loader = DataLoader(
        corpus.files,
        batch_size=BATCH,
        sampler=RandomSampler(corpus.files, num_samples=BATCH * BATCHES),
        num_workers=2,
        # The default, forking, may hang in a process that has other threads.
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    dataset = training_chunks(
        {"va": corpus.samples},
        media_items(corpus.store, WINDOWS),
        Schedule({"va": BATCH}, rounds_per_chunk=1, chunks_per_epoch=BATCHES),
        epochs=1,
    )
    for chunk in dataset:
        _check_batch({key: part[0, 0] for key, part in chunk["va"].items()}, corpus)

    def theirs() -> int:
        return sum(len(batch["frames"]) for batch in loader)

    def ours() -> int:
        return sum(len(chunk["va"]["frames"][0, 0]) for chunk in dataset)

    return timing.compare(
        "batches",
        f"a window of both and its labels in batches of {BATCH}, by 2 threads, against "
        "a DataLoader of the above with 2 workers",
        target=20,
        theirs=theirs,
        ours=ours,
        repetitions=repetitions,
    )


def _check_batch(batch: dict[str, np.ndarray], corpus: Corpus) -> None:
    """One window of the batch in full is enough: all are made by the same code."""
    other = corpus.files[int(batch["row"][0])]
    check_same_sound(batch["waveform"][0], other.pop("waveform"))
    for key, value in other.items():
        np.testing.assert_array_equal(batch[key][0], value, err_msg=key)


def sampling(folder: Path, repetitions: int) -> timing.Comparison:
    """Indices and labels out of Aff-Wild2's 2.66 million frames, and a hundredth."""
    large = _all_samples(write_large_store(folder / "large"))
    small = _all_samples(write_large_store(folder / "small", divisor=100))
    sizes = {name: len(samples) for name, samples in large.items()}
    shares = plan(sizes, batch_size=256, rounds_per_chunk=50).batch_sizes
    return timing.compare(
        "sampling",
        "a sample's indices and labels out of 2.66 million frames, against 26,600",
        target=0.9,
        theirs=_sampler(small, shares),
        ours=_sampler(large, shares),
        repetitions=repetitions,
    )


def _all_samples(path: Path) -> dict[str, Samples]:
    store = open_store(path)
    return {
        name: training_samples(store, store.labels(name, "train"), WINDOWS)
        for name in SETS
    }


def _sampler(samples: dict[str, Samples], shares: Mapping[str, int]) -> timing.Work:
    chunks = iter(
        training_chunks(
            samples,
            feature_items(np.arange(FRAMES, dtype=np.int32)),
            Schedule(shares, rounds_per_chunk=50, chunks_per_epoch=100),
            epochs=100,
            threads=0,
        )
    )
    return lambda: sum(part["row"].size for part in next(chunks).values())
