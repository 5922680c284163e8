"""A student's round on features, three updates of 256 rows, against PyTorch.

Both sides gather their batches out of a table in memory, run the same teacher, take the
loss of equation 13 and update 4.7 million parameters with Adam. Before anything is
timed, both train three rounds without dropout and must report the same losses.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from abaw_jax.data.items import feature_items, gather_features
from abaw_jax.data.pipeline import Schedule, evaluation_chunks, training_chunks
from abaw_jax.data.windows import Samples
from abaw_jax.models import AffectHeads
from abaw_jax.objectives import student_objective
from abaw_jax.tasks import TASKS
from abaw_jax.training.curriculum import LossSettings, Progress, chunk_weights
from abaw_jax.training.sharding import over_all_devices, place
from abaw_jax.training.state import (
    Variables,
    create_state,
    init_variables,
    stack_members,
)
from abaw_jax.training.steps import (
    empty_scores,
    make_chunk_step,
    make_predict_chunk,
)
from abaw_jax.training.teaching import banked_teacher, fill_bank, live_teacher
from tests.benchmarks import peers, timing

ROWS, FRAMES, BATCH, ROUNDS, DROPOUT, LEARNING_RATE = 20_000, 6, 256, 10, 0.5, 1e-4
TITLE = "A student's round"
Item = Mapping[str, Any]


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """With live teacher and with bank against PyTorch, and against each other."""
    problem = Problem()
    _check_equal(problem)
    theirs = Theirs(problem, DROPOUT)
    live = Ours(problem, DROPOUT, bank=False)
    bank = Ours(problem, DROPOUT, bank=True)
    what = f"a round of {len(TASKS)} updates of {BATCH} rows"
    yield timing.compare(
        "live teacher",
        f"{what}, the teacher running in it, against PyTorch",
        target=1 / 0.75,
        theirs=theirs.train,
        ours=live.train,
        repetitions=repetitions,
    )
    yield timing.compare(
        "soft-label bank",
        f"{what}, the teacher's outputs looked up, against PyTorch",
        target=1 / 0.6,
        theirs=theirs.train,
        ours=bank.train,
        repetitions=repetitions,
    )
    yield timing.compare(
        "bank for live",
        f"{what}, the bank against the live teacher",
        target=1.1,
        theirs=live.train,
        ours=bank.train,
        repetitions=repetitions,
    )


class Problem:
    """A feature table, windows of it, labels, a teacher and a student to start with."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.table = {
            "image": rng.random((ROWS, 512), np.float32),
            "sound": rng.dirichlet(np.full(1000, 0.1), ROWS).astype(np.float32),
        }
        self.samples = {task: _samples(task, rng) for task in TASKS}
        self.teacher, self.student = (_variables(seed) for seed in (1, 2))

    def chunks(self) -> Iterator[dict[str, Item]]:
        """Chunks ``{task: {key: [R, 1, B, ...]}}`` of indices and labels."""
        return iter(
            training_chunks(
                self.samples,
                feature_items(np.arange(ROWS, dtype=np.int32)),
                Schedule(dict.fromkeys(TASKS, BATCH), ROUNDS, 1000),
                epochs=1,
            )
        )


def _samples(task: str, rng: np.random.Generator) -> Samples:
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


def _variables(seed: int) -> Variables:
    shapes = ((2, FRAMES, 512), (2, 1000))
    examples = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return init_variables(AffectHeads(), jax.random.key(seed), *examples)


class Ours:
    """The compiled chunk of rounds that a run trains with."""

    def __init__(self, problem: Problem, dropout: float, *, bank: bool) -> None:
        model, optimizer = AffectHeads(dropout_rate=dropout), optax.adam(LEARNING_RATE)
        self._shardings, self._problem = over_all_devices(), problem
        teachers = stack_members([problem.teacher])
        self._table = jax.device_put(problem.table)
        self._teacher: Any = jax.tree.map(lambda leaf: leaf[None], teachers)
        if bank:
            self._table = self._table | {"soft": self._bank(model, teachers)}
            self._teacher = jnp.zeros(1, jnp.int32)
        self._step = make_chunk_step(
            model,
            optimizer,
            student_objective,
            fetch=gather_features,
            inputs=_inputs,
            shardings=self._shardings,
            teach=banked_teacher
            if bank
            else live_teacher(model, _inputs, self._shardings),
        )
        state = create_state(stack_members([problem.student]), optimizer)
        # Where the step leaves it: elsewhere, the second call would compile again.
        self._state = place(state, self._shardings.members)
        self._chunks, self._keys = problem.chunks(), jax.random.key(3)[None]
        weights = chunk_weights(
            LossSettings(discriminator=(1.0, 1.0)),
            Progress(),
            first_round=0,
            rounds=ROUNDS,
            rounds_per_epoch=ROUNDS,
            epochs=1,
        )
        self._weights = jax.tree.map(lambda leaf: leaf[:, None], weights)

    def _bank(self, model: AffectHeads, teachers: Variables) -> Any:
        predict = make_predict_chunk(
            model, fetch=gather_features, inputs=_inputs, shardings=self._shardings
        )
        none = stack_members([empty_scores(TASKS)])
        chunks = {
            task: evaluation_chunks(
                samples,
                feature_items(np.arange(ROWS, dtype=np.int32)),
                batch_size=BATCH,
                batches_per_chunk=8,
            )
            for task, samples in self._problem.samples.items()
        }
        bank = fill_bank(
            lambda chunk: predict(teachers, self._table, chunk, none)[1],
            chunks,
            [[0]],
            {task: len(samples) for task, samples in self._problem.samples.items()},
        )
        return jax.device_put(bank, self._shardings.replicated)

    def losses(self) -> np.ndarray:
        """Trains a chunk; the loss of every round and task ``[R, 3]``."""
        self._state, terms = self._step(
            self._state,
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


def _inputs(batch: Item) -> tuple[Any, Any]:
    return batch["image"], batch["sound"]


class Theirs:
    """The loop of a PyTorch user."""

    def __init__(self, problem: Problem, dropout: float) -> None:
        self._student = peers.Heads(problem.student, dropout).train()
        self._teacher = peers.Heads(problem.teacher, dropout).eval()
        trained = [each for each in self._student.parameters() if each.requires_grad]
        self._optimizer = torch.optim.Adam(trained, LEARNING_RATE, fused=True)
        self._table = {k: torch.from_numpy(v) for k, v in problem.table.items()}
        self._chunks = problem.chunks()

    def losses(self) -> np.ndarray:
        """Trains a chunk; the loss of every round and task ``[R, 3]``."""
        chunk = next(self._chunks)
        return np.array(
            [
                [
                    self._update(task, {k: v[r, 0] for k, v in chunk[task].items()})
                    for task in TASKS
                ]
                for r in range(ROUNDS)
            ]
        )

    def train(self) -> int:
        """Trains a chunk."""
        return len(self.losses())

    def _update(self, task: str, item: Item) -> float:
        rows, sounds = (
            torch.from_numpy(item[key]) for key in ("image_rows", "sound_row")
        )
        image, sound = self._table["image"][rows], self._table["sound"][sounds]
        with torch.inference_mode():
            soft = self._teacher(image, sound)
        labels = torch.from_numpy(item[task])
        labels = labels.long() if task == "expr" else labels.float()
        outputs = self._student(image, sound)
        loss = peers.student_loss(task, outputs, soft, labels, delta=1.0)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item()


def _check_equal(problem: Problem) -> None:
    """Three rounds, nine updates: outputs, losses and gradients all have a part."""
    expected = Theirs(problem, 0.0).losses()[:3]
    for bank in (False, True):
        found = Ours(problem, 0.0, bank=bank).losses()[:3]
        np.testing.assert_allclose(found, expected, rtol=2e-4)
