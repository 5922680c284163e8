"""A training problem of milliseconds, shared by the tests of the training room.

Features of four sets are random, labels are a fixed function of them, heads are small.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from abaw_jax.models import AffectHeads
from abaw_jax.objectives import student_objective, teacher_objective
from abaw_jax.pipeline.batches import Schedule, plan, training_chunks
from abaw_jax.pipeline.items import feature_items, gather_features
from abaw_jax.pipeline.windows import Samples
from abaw_jax.training.curriculum import LossSettings, Progress, chunk_weights
from abaw_jax.training.distillation import online_teacher
from abaw_jax.training.job import Job, Limits, Validation
from abaw_jax.training.sharding import over_all_devices
from abaw_jax.training.state import (
    average_parameters,
    create_state,
    init_variables,
    stack_members,
)
from abaw_jax.training.steps import make_chunk_step

ROWS = 200
# Neighbours of one size share a program on CPUs: two to compile for a round, not four.
SIZES = {"va": 96, "expr": 96, "au": 33, "mtl": 33}
MODEL = AffectHeads(
    lstm_size=8,
    extractor_sizes=(16,),
    head_sizes=(8,),
    discriminator_sizes=(8,),
    dropout_rate=0.2,
    image_dropout=0.2,
)
# What is kept are averages, so that whatever compares runs compares these too.
OPTIMIZER = optax.chain(optax.adam(3e-3), average_parameters(0.9))
# Adam makes full steps out of gradients that are little but rounding; where two
# programs are compared, steps are proportional.
# At this rate 96 updates move a parameter by up to 0.64 and rounding between one device
# and eight by 4.5e-7; at 1e-2 training itself magnified that to 1e-5.
PLAIN = optax.chain(optax.sgd(3e-3, momentum=0.9), average_parameters(0.9))


@cache
def make_table():
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(ROWS, 6)), jnp.float32),
        "sound": jnp.asarray(rng.normal(size=(ROWS, 5)), jnp.float32),
    }


@cache
def make_samples(**sizes):
    rng = np.random.default_rng(1)
    image = np.asarray(make_table()["image"])
    samples = {}
    for name, size in (sizes or SIZES).items():
        rows = rng.integers(0, ROWS, (size, 2))
        last = image[rows[:, -1]]
        samples[name] = Samples(
            subject=np.zeros(size, np.int32),
            image_rows=rows.astype(np.int32),
            sound_end=np.zeros(size, np.int64),
            va=np.tanh(last[:, :2]),
            va_where=np.full(size, name in ("va", "mtl")),
            expr=last.argmax(-1).astype(np.int32),
            expr_where=np.full(size, name in ("expr", "mtl")),
            au=np.tile(last > 0, 2).astype(np.uint8),
            au_where=np.full((size, 12), name in ("au", "mtl")),
        )
    return samples


def inputs(batch):
    return batch["image"], batch["sound"]


SHARDINGS = over_all_devices()


@cache  # compiling it takes longer than every test that uses it
def make_step(
    student=False, shardings=SHARDINGS, optimizer=OPTIMIZER, model=MODEL, skip=False
):
    return make_chunk_step(
        model,
        optimizer,
        student_objective if student else teacher_objective,
        make_batch=gather_features,
        inputs=inputs,
        shardings=shardings,
        soft_labels=online_teacher(model, inputs, shardings) if student else None,
        skip_nonfinite=skip,
    )


@cache
def _variables(seed):
    # Numbers even where a caller is traced: the cache outlives its trace.
    with jax.ensure_compile_time_eval():
        return init_variables(
            MODEL,
            jax.random.key(seed),
            jax.ShapeDtypeStruct((2, 2, 6), jnp.float32),
            jax.ShapeDtypeStruct((2, 5), jnp.float32),
        )


def make_variables(*seeds):
    """Copies, a member for each seed: a step donates its state."""
    each = [_variables(seed) for seed in seeds or (0,)]
    return jax.device_put(stack_members(each), SHARDINGS.members)


def make_teacher(*seeds):
    """What `online_teacher` of one member wants: its teachers' variables."""
    return jax.tree.map(lambda leaf: leaf[None], make_variables(*seeds))


def make_state(*seeds, optimizer=OPTIMIZER):
    state = create_state(make_variables(*seeds), optimizer)
    return jax.device_put(state, SHARDINGS.members)


def make_schedule(**sizes) -> Schedule:
    return plan(sizes or SIZES, batch_size=24, rounds_per_chunk=2)


def make_chunks(epochs=4, seeds=(3,), **sizes):
    fill = feature_items(np.arange(ROWS, dtype=np.int32))
    samples, schedule = make_samples(**sizes), make_schedule(**sizes)
    return training_chunks(samples, fill, schedule, epochs=epochs, seeds=seeds)


def validate(variables):
    """A score that is a deterministic function of the weights."""
    sizes = jax.vmap(optax.tree.norm)(variables["params"]).tolist()
    return [
        Validation(size % 1.0, {"va": -size, "expr": size}, {"size": size})
        for size in sizes
    ]


def make_job(*, epochs=4, patience=9, student=False, **changes):
    values = {
        "step": make_step(student),
        "teacher": make_teacher(7) if student else None,
        "table": make_table(),
        "chunks": make_chunks(epochs),
        "schedule": make_schedule(),
        "losses": (LossSettings(),),
        "limits": Limits(epochs, patience),
        "keys": jax.random.key(5)[None],
        "validate": validate,
        "shardings": SHARDINGS,
        **changes,
    }
    return Job(**values)


def first_chunk(state, job):
    """The state after the first chunk of a job."""
    rounds = job.schedule.rounds_per_chunk
    each = [
        chunk_weights(
            settings,
            Progress(),
            first_round=0,
            rounds=rounds,
            rounds_per_epoch=rounds,
            epochs=1,
        )
        for settings in job.losses
    ]
    weights = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *each)
    active = np.arange(len(job.losses)) % 2 == 0
    chunk = next(iter(job.chunks))
    arguments = (job.teacher, job.table, chunk, weights, job.keys, active)
    return job.step(state, *arguments)[0]
