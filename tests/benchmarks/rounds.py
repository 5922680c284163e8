"""A student's rounds, three updates each, against PyTorch: on features, end to end.

Both sides gather their batches out of a table in memory, run the same teacher, take the
loss of equation 13 and update all parameters with Adam: 4.7 million of the heads, end
to end those of both encoders too. Before anything is timed, both train without dropout
in float32 and must report the same losses.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from abaw_jax.models import AffectHeads, AffectModel, ImageEncoder, SoundNet
from abaw_jax.objectives import student_objective
from abaw_jax.pipeline.batches import Schedule, evaluation_chunks, training_chunks
from abaw_jax.pipeline.items import Fill, feature_items, gather_features
from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import TASKS
from abaw_jax.training.curriculum import LossSettings, Progress, chunk_weights
from abaw_jax.training.distillation import (
    lookup_teacher,
    online_teacher,
    precompute_soft_labels,
)
from abaw_jax.training.sharding import over_all_devices, put_on_devices
from abaw_jax.training.state import (
    Variables,
    create_state,
    init_variables,
    stack_members,
)
from abaw_jax.training.steps import empty_scores, make_chunk_step, make_predict_chunk
from tests.benchmarks import peers, timing

ROWS, FRAMES, DROPOUT, LEARNING_RATE = 20_000, 6, 0.5, 1e-4
TITLE = "A student's round"
Item = Mapping[str, Any]


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """Live teacher and cached soft labels against PyTorch, and against each other."""
    problem = Features()
    check_equal(problem, cached=False)
    check_equal(problem, cached=True)
    theirs = Theirs(problem, DROPOUT, timing.DTYPE)
    live = Ours(problem, DROPOUT, timing.DTYPE)
    cached = Ours(problem, DROPOUT, timing.DTYPE, cached=True)
    what = f"a round of {len(TASKS)} updates of {problem.batch} rows"
    yield timing.compare(
        "live teacher",
        f"{what}, the teacher running in it, against PyTorch",
        target=1 / 0.75,
        theirs=theirs.train,
        ours=live.train,
        repetitions=repetitions,
    )
    yield timing.compare(
        "cached soft labels",
        f"{what}, the teacher's outputs looked up, against PyTorch",
        target=1 / 0.6,
        theirs=theirs.train,
        ours=cached.train,
        repetitions=repetitions,
    )
    yield timing.compare(
        "cached for live",
        f"{what}, cached soft labels against the live teacher",
        target=1.1,
        theirs=live.train,
        ours=cached.train,
        repetitions=repetitions,
    )
    if timing.ON_GPU:
        yield _end_to_end(repetitions)


def _end_to_end(repetitions: int) -> timing.Comparison:
    problem = Media()
    check_equal(problem)
    return timing.compare(
        "end to end",
        f"a round of {len(TASKS)} updates of {problem.batch} rows, {FRAMES} images of "
        "224x224 and ten seconds of sound each, encoders trained",
        target=1.0,
        theirs=Theirs(problem, DROPOUT, timing.DTYPE).train,
        ours=Ours(problem, DROPOUT, timing.DTYPE).train,
        repetitions=repetitions,
    )


class Features:
    """A feature table, windows of it, labels, a teacher and a student to start with."""

    batch, rounds = 256, 10

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.table = self.draw(rng)
        self.samples = {task: self._samples(task, rng) for task in TASKS}
        self.teacher, self.student = (self._variables(seed) for seed in (1, 2))

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What rows are gathered from."""
        return {
            "image": rng.random((ROWS, 512), np.float32),
            "sound": rng.dirichlet(np.full(1000, 0.1), ROWS).astype(np.float32),
        }

    @property
    def shapes(self) -> list[tuple[tuple[int, ...], Any]]:
        """Of the network's inputs."""
        return [((2, FRAMES, 512), jnp.float32), ((2, 1000), jnp.float32)]

    @property
    def fill(self) -> Fill:
        """Indices into the table."""
        return feature_items(np.arange(ROWS, dtype=np.int32))

    def model(self, dropout: float, dtype: Any) -> Any:
        """Ours."""
        return AffectHeads(dropout_rate=dropout, dtype=dtype)

    def network(self, variables: Variables, dropout: float) -> torch.nn.Module:
        """Theirs."""
        return peers.Heads(variables, dropout)

    @staticmethod
    def make_batch(table: Any, item: Item) -> Any:
        """A batch of ours."""
        return gather_features(table, item)

    @staticmethod
    def inputs(batch: Item) -> tuple[Any, Any]:
        """What our network reads of it."""
        return batch["image"], batch["sound"]

    def gather(self, table: Mapping[str, torch.Tensor], item: Item) -> list[Any]:
        """What their network reads."""
        image, sound = (on_device(item[key]) for key in ("image_rows", "sound_row"))
        return [table["image"][image], table["sound"][sound]]

    def chunks(self) -> Iterator[dict[str, Item]]:
        """Chunks ``{task: {key: [R, 1, B, ...]}}`` of indices and labels."""
        schedule = Schedule(dict.fromkeys(TASKS, self.batch), self.rounds, 1000)
        return iter(training_chunks(self.samples, self.fill, schedule, epochs=1))

    def _samples(self, task: str, rng: np.random.Generator) -> Samples:
        last = rng.permutation(np.arange(FRAMES, ROWS))
        return Samples(
            subject=np.zeros(len(last), np.int32),
            image_rows=(last[:, None] + np.arange(1 - FRAMES, 1)).astype(np.int32),
            sound_end=np.zeros(len(last), np.int64),
            va=rng.uniform(-1, 1, (len(last), 2)).astype(np.float32),
            va_where=np.full(len(last), task == "va"),
            expr=rng.integers(0, 8, len(last)).astype(np.int32),
            expr_where=np.full(len(last), task == "expr"),
            au=rng.integers(0, 2, (len(last), 12)).astype(np.uint8),
            au_where=np.full((len(last), 12), task == "au"),
        )

    def _variables(self, seed: int) -> Variables:
        examples = [jax.ShapeDtypeStruct(*each) for each in self.shapes]
        model = self.model(0.0, jnp.float32)
        return init_variables(model, jax.random.key(seed), *examples)


class Media(Features):
    """Images and sounds in the device's memory; encoders and heads are trained."""

    batch, rounds, side = 64, 1, 112

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Images and one track."""
        return {
            "frames": rng.integers(0, 256, (512, self.side, self.side, 3), np.uint8),
            "waveform": rng.integers(-(2**13), 2**13, (64, 220_500), np.int16),
        }

    @property
    def shapes(self) -> list[tuple[tuple[int, ...], Any]]:
        """Of the network's inputs."""
        return [
            ((1, FRAMES, self.side, self.side, 3), jnp.uint8),
            ((1, 220_500), jnp.int16),
        ]

    def model(self, dropout: float, dtype: Any) -> Any:
        """Ours."""
        return AffectModel(
            image_encoder=ImageEncoder(dtype=dtype),
            sound_encoder=SoundNet(dtype=dtype),
            heads=AffectHeads(dropout_rate=dropout, dtype=dtype),
            image_size=2 * self.side,
            train_encoders=True,
        )

    def network(self, variables: Variables, dropout: float) -> torch.nn.Module:
        """Theirs."""
        shape = ImageEncoder()
        return peers.EndToEnd(variables, dropout, shape.stage_sizes, shape.cardinality)

    @staticmethod
    def make_batch(table: Any, item: Item) -> Any:
        """A batch of ours."""
        frames = table["frames"][item["image_rows"] % len(table["frames"])]
        sounds = table["waveform"][item["sound_row"] % len(table["waveform"])]
        return {**item, "frames": frames, "waveform": sounds}

    @staticmethod
    def inputs(batch: Item) -> tuple[Any, Any]:
        """What our network reads of it."""
        return batch["frames"], batch["waveform"]

    def gather(self, table: Mapping[str, torch.Tensor], item: Item) -> list[Any]:
        """What their network reads."""
        image, sound = (on_device(item[key]) for key in ("image_rows", "sound_row"))
        frames, sounds = table["frames"], table["waveform"]
        return [frames[image % len(frames)], sounds[sound % len(sounds)]]


class Ours:
    """The compiled chunk of rounds that a run trains with."""

    def __init__(
        self, problem: Features, dropout: float, dtype: Any, *, cached: bool = False
    ) -> None:
        model = problem.model(dropout, dtype)
        optimizer = optax.adam(LEARNING_RATE)
        self._shardings, self._problem = over_all_devices(), problem
        teachers = stack_members([problem.teacher])
        self._table = jax.device_put(problem.table)
        self._teacher: Any = jax.tree.map(lambda leaf: leaf[None], teachers)
        if cached:
            self._table = self._table | {
                "soft_labels": self._cached_soft_labels(model, teachers)
            }
            self._teacher = jnp.zeros(1, jnp.int32)
        self._step = make_chunk_step(
            model,
            optimizer,
            student_objective,
            make_batch=problem.make_batch,
            inputs=problem.inputs,
            shardings=self._shardings,
            soft_labels=lookup_teacher
            if cached
            else online_teacher(model, problem.inputs, self._shardings),
        )
        state = create_state(stack_members([problem.student]), optimizer)
        # Where the step leaves it: elsewhere, the second call would compile again.
        self.state = put_on_devices(state, self._shardings.members)
        self._chunks, self._keys = problem.chunks(), jax.random.key(3)[None]
        weights = chunk_weights(
            LossSettings(discriminator=(1.0, 1.0)),
            Progress(),
            first_round=0,
            rounds=problem.rounds,
            rounds_per_epoch=problem.rounds,
            epochs=1,
        )
        self._weights = jax.tree.map(lambda leaf: leaf[:, None], weights)

    def _cached_soft_labels(self, model: AffectHeads, teachers: Variables) -> Any:
        predict = make_predict_chunk(
            model,
            make_batch=self._problem.make_batch,
            inputs=self._problem.inputs,
            shardings=self._shardings,
        )
        none = stack_members([empty_scores(TASKS)])
        chunks = {
            task: evaluation_chunks(
                samples,
                self._problem.fill,
                batch_size=self._problem.batch,
                batches_per_chunk=8,
            )
            for task, samples in self._problem.samples.items()
        }
        cached = precompute_soft_labels(
            lambda chunk: predict(teachers, self._table, chunk, none)[1],
            chunks,
            [[0]],
            {task: len(samples) for task, samples in self._problem.samples.items()},
        )
        return jax.device_put(cached, self._shardings.replicated)

    def restart(self, state: Any) -> None:
        """Goes on from ``state`` with the first chunk."""
        self.state = put_on_devices(state, self._shardings.members)
        self._chunks = self._problem.chunks()

    def losses(self) -> np.ndarray:
        """Trains a chunk; the loss of every round and task ``[R, 3]``."""
        self.state, terms = self._step(
            self.state,
            self._teacher,
            self._table,
            next(self._chunks),
            self._weights,
            self._keys,
            np.array([True]),
        )
        losses = [terms[f"{task}/loss"][:, 0] for task in TASKS]
        return np.stack([np.asarray(each) for each in losses], axis=1)

    def train(self) -> int:
        """Trains a chunk and waits for it."""
        return len(self.losses())


class Theirs:
    """The loop of a PyTorch user."""

    def __init__(self, problem: Features, dropout: float, dtype: Any) -> None:
        self._student = problem.network(problem.student, dropout).train()
        self._teacher = problem.network(problem.teacher, dropout).eval()
        trained = [each for each in self._student.parameters() if each.requires_grad]
        self._optimizer = torch.optim.Adam(trained, LEARNING_RATE, fused=True)
        self._student_run = timing.as_fast_as_it_gets(self._student, dtype)
        self._teacher_run = timing.as_fast_as_it_gets(self._teacher, dtype)
        self._table = {k: on_device(v) for k, v in problem.table.items()}
        self._chunks, self._problem = problem.chunks(), problem

    def losses(self) -> np.ndarray:
        """Trains a chunk; the loss of every round and task ``[R, 3]``."""
        chunk = next(self._chunks)
        losses = [
            self._update(task, {k: v[r, 0] for k, v in chunk[task].items()})
            for r in range(self._problem.rounds)
            for task in TASKS
        ]
        # Read once, at the end: a GPU need not be waited for at every update.
        return torch.stack(losses).reshape(-1, len(TASKS)).cpu().numpy()

    def train(self) -> int:
        """Trains a chunk."""
        return len(self.losses())

    def _update(self, task: str, item: Item) -> torch.Tensor:
        inputs = self._problem.gather(self._table, item)
        with torch.no_grad():
            soft = self._teacher_run(*inputs)
        labels = on_device(item[task])
        labels = labels.long() if task == "expr" else labels.float()
        outputs = self._student_run(*inputs)
        loss = peers.student_loss(task, outputs, soft, labels, delta=1.0)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def on_device(values: np.ndarray) -> torch.Tensor:
    """The array where PyTorch computes."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(peers.DEVICE)


def check_equal(problem: Features, *, cached: bool = False) -> None:
    """Three updates each of up to three rounds: outputs, losses, gradients have a part.

    Encoders start with statistics of the batch alone, so a rounding error grows with
    each of their layers and updates.
    """
    with timing.exact_products():
        expected = Theirs(problem, 0.0, None).losses()[:3]
        found = Ours(problem, 0.0, jnp.float32, cached=cached).losses()[:3]
    rtol = 2e-4 if type(problem) is Features else 5e-3
    np.testing.assert_allclose(found, expected, rtol=rtol)
