"""Profiles: operations counted by hand, programs read, figures by public names."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from abaw_jax.profiling import hardware, result, session, workloads
from abaw_jax.profiling.flops import count_activations, count_flops, tree_bytes
from abaw_jax.profiling.hardware import Peak, peak_of, roofline_seconds
from abaw_jax.profiling.programs import Program, read_program
from abaw_jax.report import console
from abaw_jax.training.sharding import over_devices
from configs import quickstart, student

ROOT = Path(__file__).parents[2]


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


def test_products_and_convolutions_are_counted_as_by_hand():
    assert count_flops(jnp.matmul, shape(5, 7), shape(7, 3)) == 2 * 5 * 7 * 3
    assert count_flops(jnp.matmul, shape(4, 5, 7), shape(4, 7, 3)) == 2 * 4 * 5 * 7 * 3

    def grouped(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", feature_group_count=4, dimension_numbers=layout
        )

    # Every output of 6x5x8 sees 3x3 places of 2 channels.
    found = count_flops(grouped, shape(2, 6, 5, 8), shape(3, 3, 2, 8))
    assert found == 2 * (2 * 6 * 5 * 8) * (3 * 3 * 2)
    assert count_activations(grouped, shape(2, 6, 5, 8), shape(3, 3, 2, 8)) == 4 * 480


def test_loops_count_as_often_as_they_run_and_platforms_once():
    def loop(x, kernel):
        return jax.lax.scan(lambda c, _: (c @ kernel, None), x, length=6)[0]

    assert count_flops(loop, shape(2, 3), shape(3, 3)) == 6 * 2 * 2 * 3 * 3

    def by_platform(x, kernel):
        return jax.lax.platform_dependent(
            x, kernel, cpu=lambda x, k: (x @ k) @ k, default=lambda x, k: x @ k
        )

    found = count_flops(jax.jit(by_platform), shape(2, 3), shape(3, 3))
    assert found == 2 * 2 * 3 * 3


def test_the_paper_network_needs_what_its_layers_add_up_to():
    """LSTM 6 x (512 + 512) x 2048, but for the product with the zero state."""
    config = student.get_config()
    from abaw_jax.experiment import model_factory
    from abaw_jax.training.state import init_variables

    model, examples = model_factory.heads(config), model_factory.feature_shapes(config)
    variables = jax.eval_shape(
        lambda: init_variables(model, jax.random.key(0), *examples)
    )
    products = 6 * 512 * 2048 + 5 * 512 * 2048 + 1512 * 1024 + 1024 * 512
    products += 3 * (512 * 256 + 256 * 128) + 128 * (2 + 8 + 12)
    products += 512 * 64 + 64 * 32 + 32 * 3
    assert count_flops(model.apply, variables, *examples) == 2 * 2 * products
    assert tree_bytes(variables["params"]) == 4 * 4_709_401


def test_a_program_tells_operations_bytes_and_memory():
    compiled = jax.jit(jnp.matmul).lower(shape(64, 32), shape(32, 16)).compile()
    found = read_program(compiled, "cpu")
    assert found.flops == pytest.approx(2 * 64 * 32 * 16, rel=0.05)
    assert found.argument_bytes == 4 * (64 * 32 + 32 * 16)
    assert found.peak_bytes >= found.argument_bytes + 4 * 64 * 16
    assert found.bytes_accessed >= 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert found.collectives == {}
    assert found.hbm_bytes is None  # a CPU has no memory on its chip to tell


def test_a_roofline_is_of_bytes_that_leave_the_chip(small):
    workload = workloads.heads(small, over_devices(jax.devices()[:1]), 50)
    devices = [SimpleNamespace(device_kind="TPU v5 lite")]
    seconds = [
        result.describe(workload, program, devices, 1.0, None)["roofline_seconds"]
        for program in (
            Program(1e9, 819e9, 819 * 10**8, 10**6, 10**5, {}),
            Program(1e9, 819e9, None, 10**6, 10**5, {}),
        )
    ]
    assert seconds == [0.1, 1.0]


def test_peaks_and_rooflines():
    v5e = peak_of(SimpleNamespace(device_kind="TPU v5 lite"))
    assert v5e.flops == 197e12  # and not the one of "TPU v5"
    assert peak_of(SimpleNamespace(device_kind="TPU v5p")).flops == 459e12
    assert peak_of(SimpleNamespace(device_kind="cpu")) is None
    peak = Peak(flops=100.0, bandwidth=10.0, memory=1.0, link=1.0)
    assert roofline_seconds(200.0, 5.0, peak) == 2.0
    assert roofline_seconds(200.0, 50.0, peak) == 5.0


def test_quantities_are_read_at_a_glance():
    shown = [result.quantity(value, "B") for value in (0, 5.07e9, 999, 0.0123)]
    assert shown == ["0 B", "5.07 GB", "999 B", "12.3 mB"]


@pytest.fixture
def small():
    config = quickstart.get_config()
    config.train.batch_size, config.train.rounds_per_chunk = 16, 2
    return config


def run(config, step, **changes):
    values = {"topology": None, "frames": 200, "calls": 3, "trace": None} | changes
    return session.profile(config, step, **values)


@pytest.mark.slow
def test_a_profile_has_the_public_names_and_agrees_with_itself(
    small, tmp_path, monkeypatch
):
    found = run(small, "heads", trace=tmp_path / "trace")
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    for name in ("compile_seconds", "step_seconds_median", "step_seconds_p90"):
        assert found[name] > 0
    assert found["step_seconds_median"] == np.median(found["step_seconds"])
    assert found["samples_per_second"] == 64 / found["step_seconds_median"]
    assert len(found["step_seconds"]) == len(found["fed_seconds"]) == 3
    assert 0 <= found["waiting_share"] < 1
    for name in ("flops", "bytes_accessed", "peak_bytes", "collectives"):
        assert found[name]
    wide = Console(width=100, record=True, file=io.StringIO())
    monkeypatch.setattr(console, "_console", wide)
    session.show(found, tmp_path / "p.json", tmp_path / "p.png")
    assert json.loads((tmp_path / "p.json").read_text())["flops"] == found["flops"]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 500 and len(picture.getcolors(1 << 20)) > 10
    assert "samples" in wide.export_text()


@pytest.mark.slow
def test_encoders_alone_and_in_the_network_are_profiled_too(small):
    small.train.batch_size, small.features.batch_size = 2, 4
    small.windows.images, small.data.image_size = 2, 32
    # Compiling takes the time: one stream, and a stage of every kind.
    small.streams = ("image",)
    small.image_encoder.size = 32
    small.image_encoder.stage_sizes, small.image_encoder.widths = (1, 1), (16, 32)
    extract = run(small, "extract")
    assert extract["images_per_second"] == 4 / extract["step_seconds_median"]
    assert extract["waiting_share"] == 0 and extract["fed_seconds"] == ()
    whole = run(small, "end_to_end", calls=1)
    assert whole["images_per_second"] == pytest.approx(2 * whole["samples_per_second"])
    small.backbone.batch_size = 3
    trained = run(small, "image_training", calls=1)
    assert trained["images_per_second"] == 3 / trained["step_seconds_median"]
    # Three rows, not four, forward and twice as much backward; and the last layer, of
    # which four devices share the rows.
    last = 3 * 3 * 2 * 32 * 2 / 4
    assert trained["model_flops"] == 3 * 3 / 4 * extract["model_flops"] + last
    assert len(trained["fed_seconds"]) == 1


@pytest.mark.slow
def test_training_of_the_sound_encoder_is_profiled_too(small):
    small.backbone.batch_size, small.sound_encoder.widths = 2, (4,) * 7
    trained = run(small, "sound_training", calls=1)
    assert trained["samples_per_second"] == 2 / trained["step_seconds_median"]
    assert trained["images_per_second"] == 0 and len(trained["fed_seconds"]) == 1


@pytest.mark.slow
def test_of_a_loop_over_microbatches_only_the_model_is_counted(small):
    small.train.batch_size, small.end_to_end.statistics = 3, "running"
    shardings = over_devices(jax.devices()[:1])
    found = []
    for small.end_to_end.microbatches in (1, 4):
        workload = workloads.end_to_end(small, shardings, 50)
        program = Program(1e9, 1e8, 10**7, 10**6, 10**5, {})
        devices = [SimpleNamespace(device_kind="TPU v5 lite")]
        found.append(result.describe(workload, program, devices, 1.0, None))
    whole, sliced = found
    assert whole["model_flops"] == sliced["model_flops"] > 0
    assert whole["floor_bytes"] == sliced["floor_bytes"]
    left_out = {"flops", "bytes_accessed", "hbm_bytes", "roofline_seconds"}
    assert whole.keys() - sliced.keys() == left_out
    assert sliced["fits"] and result.rows(sliced)


def test_devices_share_the_rows_of_the_floor_and_each_has_the_state(small):
    workload = workloads.heads(small, over_devices(jax.devices()[:1]), 50)
    program = Program(1e9, 1e8, 10**7, 10**6, 10**5, {})
    one, four = (
        result.describe(
            workload, program, [SimpleNamespace(device_kind="x")] * n, 1.0, None
        )["floor_bytes"]
        for n in (1, 4)
    )
    assert 0 < workload.state_bytes < four < one
    assert one - four == pytest.approx(0.75 * workload.row_bytes)


def test_what_cannot_be_profiled_is_reported(small):
    with pytest.raises(ValueError, match="--step=head is unknown; choose heads, end"):
        run(small, "head")
    with pytest.raises(ValueError, match=r"--topology=v99:2x2 .* jax\[tpu\]"):
        hardware.topology_devices("v99:2x2")
    with pytest.raises(ValueError, match=r"config.dtype is 'half': give auto"):
        small.dtype = "half"
        run(small, "heads")


REFUSED = [
    (["--frames=0"], "flag --frames=0: 0 is not a positive integer"),
    (["--frames=5"], "--frames=5 is too few for --step=heads: one window has 6"),
    (["--topology=t4:1", "--trace=trace"], "--trace records calls on this machine"),
    (["--trace=/proc/no"], "/proc/no cannot be written"),
    (["--json=/proc/no/a.json"], "/proc/no cannot be written"),
    *(
        (["--topology=t4:1", "--table=t.md", f"--{name}=f"], f"--{name} those of one")
        for name in ("json", "plot", "trace")
    ),
]


def test_wrong_flags_are_refused_before_anything_is_compiled(tmp_path):
    config = f"--config={ROOT / 'configs/quickstart.py'}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.refused_calls", "profile"],
        input=json.dumps([[config, *arguments] for arguments, _ in REFUSED]),
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes = json.loads(done.stdout)
    for (_, message), (ended, _) in zip(REFUSED, outcomes, strict=True):
        assert message in ended and "TRACEBACK" not in ended
    assert [*tmp_path.iterdir()] == []
