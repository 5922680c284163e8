"""What only a GPU can show: right to float64, the same bits again, and its kernels.

    python -m tests.benchmarks gpu encoders rounds    these, then against PyTorch
    python -m tests.benchmarks.gpu_run                the quickstart, stopped twice

Networks in the forms that this platform takes are compared with float64 NumPy, their
gradients with the forms of the CPU. A chunk of rounds is trained twice from one state.
Then come the profiles of training and extraction with their bounds and the kernels that
take longest.
"""

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from abaw_jax.models import AffectHeads, ImageEncoder, SoundNet
from abaw_jax.profiling import session
from abaw_jax.report import console
from configs import student
from tests.benchmarks import encoders, rounds, timing
from tests.support import networks64

TITLE = "On this device"
SMALL = {"stage_sizes": (1, 1, 1, 1), "widths": (16, 32, 64, 128), "cardinality": 8}
# Float32 sums in another order; every layer adds its rounding.
VALUES, GRADIENTS = 1e-4, 1e-3


def comparisons(_: int) -> Iterator[timing.Comparison]:
    """Checks, then profiles; no comparisons."""
    with timing.exact_products():
        for name, module, inputs, oracle in _networks():
            _check(name, module, inputs, oracle)
    _check_bits("heads", rounds.Ours(rounds.Features(), rounds.DROPOUT, timing.DTYPE))
    for name, sides in (
        ("image encoder", encoders.images),
        ("SoundNet", encoders.sounds),
    ):
        _, ours = sides(timing.DTYPE)
        _check_bits(name, ours)
    if timing.ON_GPU:  # at full size; a CPU would take an hour
        # XLA takes minutes to try its forms of the products of end_to_end.
        for step in ("heads", "extract"):
            _profile(step)
    yield from ()


def _networks() -> Iterator[tuple[str, nn.Module, list[Any], Callable[..., Any]]]:
    rng = np.random.default_rng(0)
    yield (
        "image encoder",
        ImageEncoder(**SMALL),
        [rng.random((4, 64, 64, 3), np.float32)],
        lambda variables, x: networks64.image_encoder(
            variables, x, stage_sizes=SMALL["stage_sizes"], cardinality=8
        ),
    )
    yield (
        "SoundNet",
        SoundNet(),
        [256 * rng.uniform(-1, 1, (2, 220_500)).astype(np.float32)],
        lambda variables, x: networks64.soundnet(variables, x)[0],
    )
    yield (
        "heads",
        AffectHeads(),
        [rng.random((8, 6, 512), np.float32), rng.random((8, 1000), np.float32)],
        lambda variables, *x: networks64.heads(variables, *x)["expr"],
    )


def _check(
    name: str, module: nn.Module, inputs: list[Any], oracle: Callable[..., Any]
) -> None:
    """Values against NumPy in float64, gradients against the forms of the CPU."""
    zeros = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    variables = networks64.random_variables(
        jax.eval_shape(module.init, jax.random.key(0), *zeros)
    )

    def output(params: Any) -> jax.Array:
        found: Any = module.apply({**variables, "params": params}, *inputs)
        first = found["expr"] if isinstance(found, dict) else found
        return first[0] if isinstance(first, tuple) else first

    def gradients(device: Any) -> Any:
        params = jax.device_put(variables["params"], device)
        return jax.jit(jax.grad(lambda p: jnp.square(output(p)).mean()))(params)

    here, cpu = jax.devices()[0], jax.devices("cpu")[0]
    values = _error(jax.jit(output)(variables["params"]), oracle(variables, *inputs))
    gradient = _error(gradients(here), gradients(cpu))
    console.say(f"{name}: error of values {values:.1e}, of gradients {gradient:.1e}")
    assert values < VALUES and gradient < GRADIENTS, name


def _error(found: Any, expected: Any) -> float:
    """Norm of the difference by the norm, over all leaves."""
    one, other = (
        np.concatenate(
            [np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(t)]
        )
        for t in (found, expected)
    )
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _check_bits(name: str, ours: rounds.Ours | encoders.Ours) -> None:
    """Trains twice from one state on the same data."""
    begin, ends = jax.tree.map(np.asarray, ours.state), []
    for _ in range(2):
        ours.restart(begin)
        ours.train(), ours.train()
        ends.append([np.asarray(leaf) for leaf in jax.tree.leaves(ours.state)])
    different = sum(a.tobytes() != b.tobytes() for a, b in zip(*ends, strict=True))
    console.say(f"{name}: trained twice, {different} of {len(ends[0])} arrays differ")


def _profile(step: str) -> None:
    """Prints a step's figures beside its bounds, and its longest kernels."""
    with tempfile.TemporaryDirectory() as folder:
        found = session.profile(
            student.get_config(),
            step,
            topology=None,
            frames=None,
            calls=9,
            trace=Path(folder),
        )
        session.show(found, None, None)
        for path in Path(folder).rglob("*.trace.json.gz"):
            _show_kernels(json.loads(gzip.decompress(path.read_bytes())))


def _show_kernels(trace: dict[str, Any], count: int = 12) -> None:
    """Time and launches of the kernels that took longest in a trace of three calls."""
    events = trace["traceEvents"]
    devices = {
        event["pid"]
        for event in events
        if event.get("name") == "process_name" and "GPU" in event["args"]["name"]
    }
    streams = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and "Stream" in event["args"]["name"]
    }
    seconds: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in events:
        on = event.get("pid"), event.get("tid")
        if event.get("ph") == "X" and on[0] in devices and on in streams:
            seconds[event["name"]] += event["dur"] / 1e6
            launches[event["name"]] += 1
    total = sum(seconds.values())
    console.say(f"{total:.3g} s in {sum(launches.values()):,} kernels of three calls:")
    for name, each in seconds.most_common(count):
        console.say(f"{each / total:6.1%} {launches[name]:7,} x {name[:90]}")
