"""Soft labels of teachers: computed online, or looked up after one computation.

Teachers are frozen pytrees that a compiled round takes as an argument. Where its inputs
are never augmented, a teacher says the same of a row in every epoch, so its outputs are
computed once and looked up in that cache.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.objectives import Batch, Outputs
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, TASKS
from abaw_jax.training.processes import to_host
from abaw_jax.training.sharding import Shardings
from abaw_jax.training.state import Variables

# Where the columns of each task end in a row of soft labels, in the order of TASKS.
_ENDS = np.cumsum([len(AFFECT), len(EXPRESSIONS), len(ACTION_UNITS)])

Inputs = Callable[[Batch], tuple[jax.Array, ...]]
"""Picks the network's positional inputs out of a batch."""

SoftLabels = Callable[[Any, Any, str, Batch], Outputs]
"""Soft labels of a batch: ``soft_labels(table, teacher, set_name, batch)``."""


def online_teacher(
    model: nn.Module, inputs: Inputs, shardings: Shardings
) -> SoftLabels:
    """Runs the teachers in inference mode on every batch.

    The ``teacher`` of a round is their variables, ``[M, ...]`` per leaf.
    """

    def apply(variables: Variables, _: Any, rows: Any) -> tuple[Any, Any]:
        return model.apply(variables, *rows, train=False), ()

    def soft_labels(table: Any, teacher: Variables, name: str, batch: Batch) -> Outputs:
        del table, name

        def answer(variables: Variables) -> Any:
            return shardings.by_rows(apply)(variables, (), inputs(batch))[0]

        with jax.named_scope("teacher"):
            outputs = vmap_members(answer)(teacher)
            return jax.lax.stop_gradient(mean_outputs(outputs))

    return soft_labels


def lookup_teacher(table: Any, group: jax.Array, name: str, batch: Batch) -> Outputs:
    """Looks soft labels up in a table; a `SoftLabels`.

    Args:
      table: ``soft_labels`` holds what `precompute_soft_labels` made, ``{set: [G, N, 22
        or more]}``.
      group: scalar, whose teachers' labels to take.
      name: set that the batch was drawn from.
      batch: ``row`` int ``[B]``, the batch's rows in its set.
    """
    with jax.named_scope("teacher"):
        rows = table["soft_labels"][name][group, batch["row"]]
        va, expr, au, _ = jnp.split(rows, _ENDS, axis=-1)
        return {"va": va, "expr": expr, "au": au}


def mean_outputs(outputs: Outputs) -> dict[str, jax.Array]:
    """Averages the outputs of M networks: values and probabilities.

    Args:
      outputs: ``va`` ``[M, B, 2]``, ``expr`` ``[M, B, 8]`` logits, ``au`` ``[M, B,
        12]`` logits.

    Returns:
      The same without the first axis, logits of the mean probabilities; of a single
      network its very outputs.
    """
    if len(outputs["va"]) == 1:
        return {task: outputs[task][0] for task in TASKS}
    on, off = (
        _log_mean(jax.nn.log_sigmoid(sign * outputs["au"])) for sign in (1.0, -1.0)
    )
    return {
        "va": outputs["va"].mean(0),
        "expr": _log_mean(jax.nn.log_softmax(outputs["expr"])),
        "au": on - off,
    }


def precompute_soft_labels(
    predict: Callable[[Any], Outputs],
    chunks: Mapping[str, Iterable[Mapping[str, Any]]],
    groups: Sequence[Sequence[int]],
    sizes: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Soft labels of every row of every set.

    Args:
      predict: outputs ``[R, K, B, C]`` of all K teachers for a chunk of rows in order.
      chunks: by set, as of `evaluation_chunks`.
      groups: for each of G students' groups the indices of its M teachers.
      sizes: N by set; what follows in the last chunk is padding.

    Returns:
      float32 ``{set: [G, N, 22]}``, the columns of one task after the other: narrow
      arrays are mostly padding on accelerators, and three gathers cost more than one.
    """
    members = np.array(groups)  # [G, M]
    mean_of_groups = jax.vmap(jax.vmap(mean_outputs))  # over R and G

    @jax.jit
    def together(outputs: Outputs) -> dict[str, jax.Array]:
        return mean_of_groups({task: outputs[task][:, members] for task in TASKS})

    cached = {}
    for name, parts in chunks.items():
        found = []
        for chunk in parts:
            soft = to_host(together(predict(chunk)))
            columns = np.concatenate([soft[task] for task in TASKS], axis=-1)
            columns = np.moveaxis(columns, 0, 1)  # [G, R, B, 22]
            found.append(columns.reshape(len(groups), -1, columns.shape[-1]))
        cached[name] = np.concatenate(found, axis=1)[:, : sizes[name]]
    return cached


def vmap_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap` over the leading axis of all arguments; one alone just loses it.

    A mapped convolution becomes a grouped one, which costs far more than the axis of
    one member is worth.
    """

    def call(*trees: Any) -> Any:
        if np.shape(jax.tree.leaves(trees)[0])[0] > 1:
            return jax.vmap(function)(*trees)
        alone = jax.tree.map(lambda leaf: leaf[0], trees)
        return jax.tree.map(lambda leaf: leaf[None], function(*alone))

    return call


def _log_mean(logs: jax.Array) -> jax.Array:
    """Logarithm of the mean over the first axis of what ``logs`` are logarithms of."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(len(logs))
