"""Profiles: operations counted by hand, programs read, figures by public names."""

import io
import json
import math
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
from abaw_jax.profiling.traffic import hbm_bytes
from abaw_jax.report import console
from abaw_jax.training.sharding import over_devices
from configs import quickstart, student


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
    found = read_program(compiled)
    assert found.flops == pytest.approx(2 * 64 * 32 * 16, rel=0.05)
    assert found.argument_bytes == 4 * (64 * 32 + 32 * 16)
    assert found.peak_bytes >= found.argument_bytes + 4 * 64 * 16
    assert found.bytes_accessed >= 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert found.collectives == {}
    assert found.hbm_bytes is None  # a CPU has no memory on its chip to tell


def test_collectives_are_counted_with_their_bytes():
    text = """
      %a = f32[8,4]{1,0} all-reduce(%x), replica_groups={}
      %b = (bf16[16]{0}, f32[2]{0}) all-reduce-start(%x, %y)
      %c = f32[2]{0} all-reduce-done(%b)
      %d = u8[10,10]{1,0} all-gather(%z), dimensions={0}
    """
    memory = dict.fromkeys(("argument", "output", "alias", "temp"), 0)
    compiled = SimpleNamespace(
        cost_analysis=lambda: {},
        memory_analysis=lambda: SimpleNamespace(
            **{f"{name}_size_in_bytes": size for name, size in memory.items()}
        ),
        as_text=lambda: text,
    )
    found = read_program(compiled)
    assert found.collectives == {
        "all-gather": {"count": 1, "bytes": 100},
        "all-reduce": {"count": 2, "bytes": 128 + 32 + 8},
    }
    assert math.isnan(found.flops)


TPU_PROGRAM = """HloModule jit_step, is_scheduled=true

%gathered (param_0.1: bf16[1000,128], param_1.1: s32[16]) -> bf16[16,128] {
  %param_0.1 = bf16[1000,128]{1,0:T(8,128)(2,1)} parameter(0)
  %bitcast.1 = bf16[1000,1,128]{2,0,1:T(8,128)(2,1)} bitcast(%param_0.1)
  %param_1.1 = s32[16]{0:T(128)S(1)} parameter(1)
  ROOT %gather.1 = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} gather(%bitcast.1, %param_1.1), slice_sizes={1,1,128}
}

%stacked (param_0.2: f32[10,64], param_1.2: f32[64]) -> (f32[10,64], f32[64]) {
  %param_0.2 = f32[10,64]{1,0:T(8,128)} parameter(0)
  %param_1.2 = f32[64]{0:T(128)S(1)} parameter(1)
  %add.2 = f32[64]{0:T(128)} add(%param_1.2, %param_1.2)
  %bitcast.2 = f32[1,64]{1,0:T(8,128)} bitcast(%add.2)
  %constant.2 = s32[] constant(3)
  %dynamic-update-slice.2 = f32[10,64]{1,0:T(8,128)} dynamic-update-slice(%param_0.2, %bitcast.2, %constant.2, %constant.2)
  ROOT %tuple.2 = (f32[10,64]{1,0:T(8,128)}, f32[64]{0:T(128)}) tuple(%dynamic-update-slice.2, %add.2)
}

%body (loop: (f32[64], f32[10,64], bf16[1000,128], s32[16])) -> (f32[64], f32[10,64], bf16[1000,128], s32[16]) {
  %loop = (f32[64]{0:T(128)}, f32[10,64]{1,0:T(8,128)}, bf16[1000,128]{1,0:T(8,128)(2,1)}, s32[16]{0:T(128)S(1)}) parameter(0)
  %state = f32[64]{0:T(128)} get-tuple-element(%loop), index=0
  %stack = f32[10,64]{1,0:T(8,128)} get-tuple-element(%loop), index=1
  %table = bf16[1000,128]{1,0:T(8,128)(2,1)} get-tuple-element(%loop), index=2
  %rows = s32[16]{0:T(128)S(1)} get-tuple-element(%loop), index=3
  %copy-start.1 = (f32[64]{0:T(128)S(1)}, f32[64]{0:T(128)}, u32[]{:S(2)}) copy-start(%state)
  %copy-done.1 = f32[64]{0:T(128)S(1)} copy-done(%copy-start.1)
  %fusion.1 = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} fusion(%table, /*index=1*/%rows), kind=kCustom, calls=%gathered, backend_config={"lists":[]}
  %slice-start.1 = ((f32[10,64]{1,0:T(8,128)}), f32[2,64]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%stack), slice={[2:4], [0:64]}
  %slice-done.1 = f32[2,64]{1,0:T(8,128)S(1)} slice-done(%slice-start.1)
  %fusion.2 = (f32[10,64]{1,0:T(8,128)}, f32[64]{0:T(128)}) fusion(%stack, %copy-done.1), kind=kLoop, calls=%stacked
  %all-reduce-start.1 = f32[64]{0:T(128)S(1)} all-reduce-start(%state), replica_groups={{0,1}}, to_apply=%sum
  %all-reduce-done.1 = f32[64]{0:T(128)S(1)} all-reduce-done(%all-reduce-start.1)
  %new_stack = f32[10,64]{1,0:T(8,128)} get-tuple-element(%fusion.2), index=0
  %new_state = f32[64]{0:T(128)} get-tuple-element(%fusion.2), index=1
  ROOT %tuple.3 = (f32[64]{0:T(128)}, f32[10,64]{1,0:T(8,128)}, bf16[1000,128]{1,0:T(8,128)(2,1)}, s32[16]{0:T(128)S(1)}) tuple(%new_state, %new_stack, %table, %rows)
}

%condition (loop.1: (f32[64], f32[10,64], bf16[1000,128], s32[16])) -> pred[] {
  %loop.1 = (f32[64]{0:T(128)}, f32[10,64]{1,0:T(8,128)}, bf16[1000,128]{1,0:T(8,128)(2,1)}, s32[16]{0:T(128)S(1)}) parameter(0)
  ROOT %constant.3 = pred[]{:T(256)} constant(true)
}

ENTRY %main (state.1: f32[64], stack.1: f32[10,64], table.1: bf16[1000,128], rows.1: s32[16]) -> f32[64] {
  %state.1 = f32[64]{0:T(128)} parameter(0)
  %stack.1 = f32[10,64]{1,0:T(8,128)} parameter(1)
  %table.1 = bf16[1000,128]{1,0:T(8,128)(2,1)} parameter(2)
  %rows.1 = s32[16]{0:T(128)} parameter(3)
  %copy.1 = s32[16]{0:T(128)S(1)} copy(%rows.1)
  %tuple.4 = (f32[64]{0:T(128)}, f32[10,64]{1,0:T(8,128)}, bf16[1000,128]{1,0:T(8,128)(2,1)}, s32[16]{0:T(128)S(1)}) tuple(%state.1, %stack.1, %table.1, %copy.1)
  %while.1 = (f32[64]{0:T(128)}, f32[10,64]{1,0:T(8,128)}, bf16[1000,128]{1,0:T(8,128)(2,1)}, s32[16]{0:T(128)S(1)}) while(%tuple.4), condition=%condition, body=%body
  ROOT %got = f32[64]{0:T(128)} get-tuple-element(%while.1), index=0
}
"""  # noqa: E501


def test_bytes_that_leave_the_chip_are_counted_as_by_hand():
    rows = 4 * 16  # copied in before the loop
    state = 4 * 64  # copied in, written back as the second result, summed over chips
    gathered = 2 * 16 * 128  # and not the table; the result stays
    cut = 4 * 2 * 64  # and not the stack
    updated = 4 * 64  # in place
    assert hbm_bytes(TPU_PROGRAM) == rows + 3 * state + gathered + cut + updated


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
