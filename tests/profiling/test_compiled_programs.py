"""Compiled programs: bytes, kernels, products and loops, counted by hand."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from abaw_jax.profiling import compiled_table, gpu_chips, hardware, session
from abaw_jax.profiling.hlo import parse
from abaw_jax.profiling.launches import count_kernels, nondeterministic
from abaw_jax.profiling.products import executed_flops
from abaw_jax.profiling.programs import read_program
from abaw_jax.profiling.traffic import hbm_bytes
from configs import student


def compiled(text):
    memory = dict.fromkeys(("argument", "output", "alias", "temp"), 0)
    return SimpleNamespace(
        cost_analysis=lambda: None,
        memory_analysis=lambda: SimpleNamespace(
            **{f"{name}_size_in_bytes": size for name, size in memory.items()}
        ),
        as_text=lambda: text,
    )


def test_collectives_are_counted_with_their_bytes():
    text = """
ENTRY %main (x: f32[8,4]) -> f32[2] {
  %x = f32[8,4]{1,0} parameter(0)
  %a = f32[8,4]{1,0} all-reduce(%x), replica_groups={}
  %b = (bf16[16]{0}, f32[2]{0}) all-reduce-start(%x, %a)
  %c = (bf16[16]{0}, f32[2]{0}) all-reduce-done(%b)
  %d = (u8[5,10]{1,0}, u8[10,10]{1,0}) all-gather-start(%x), dimensions={0}
  ROOT %e = u8[10,10]{1,0} all-gather-done(%d)
}
"""
    found = read_program(compiled(text), "gpu")
    assert found.collectives == {
        "all-gather": {"count": 1, "bytes": 100},
        "all-reduce": {"count": 2, "bytes": 128 + 32 + 8},
    }
    assert found.kernels == {"collective": 3}
    assert math.isnan(found.bytes_accessed)


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
    found = hbm_bytes(parse(TPU_PROGRAM))
    assert found == rows + 3 * state + gathered + cut + updated


GPU_PROGRAM = """HloModule jit_step, is_scheduled=true

%sum (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %add.9 = bf16[] add(%a, %b)
}

%fused_scatter (p0: bf16[100,64], p1: s32[4], p2: bf16[4,64]) -> bf16[100,64] {
  %p0 = bf16[100,64]{1,0} parameter(0)
  %p1 = s32[4]{0} parameter(1)
  %p2 = bf16[4,64]{1,0} parameter(2)
  ROOT %scatter.1 = bf16[100,64]{1,0} scatter(%p0, %p1, %p2), update_window_dims={1}, to_apply=%sum, metadata={op_name="jit(step)/transpose(jvp(pool))/scatter-add"}
}

%fused_dot (p3: bf16[8,16], p4: bf16[16,64]) -> bf16[8,64] {
  %p3 = bf16[8,16]{1,0} parameter(0)
  %p4 = bf16[16,64]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,64]{1,0} dot(%p3, %p4), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_rows (p5: bf16[100,64], p6: s32[4]) -> bf16[4,64] {
  %p5 = bf16[100,64]{1,0} parameter(0)
  %p6 = s32[4]{0} parameter(1)
  %gather.1 = bf16[4,64]{1,0} gather(%p5, %p6), slice_sizes={1,64}
  ROOT %negate.1 = bf16[4,64]{1,0} negate(%gather.1)
}

%body (loop: (s32[], bf16[8,64])) -> (s32[], bf16[8,64]) {
  %loop = (s32[], bf16[8,64]{1,0}) parameter(0)
  %count = s32[] get-tuple-element(%loop), index=0
  %state = bf16[8,64]{1,0} get-tuple-element(%loop), index=1
  %copy.1 = bf16[8,64]{1,0} copy(%state)
  ROOT %tuple.1 = (s32[], bf16[8,64]{1,0}) tuple(%count, %copy.1)
}

%condition (loop.1: (s32[], bf16[8,64])) -> pred[] {
  %loop.1 = (s32[], bf16[8,64]{1,0}) parameter(0)
  ROOT %constant.1 = pred[] constant(true)
}

ENTRY %main (x: bf16[8,16], w: bf16[16,64], table: bf16[100,64], rows: s32[4], image: bf16[2,6,5,8], kernel: bf16[4,3,3,2]) -> bf16[8,64] {
  %x = bf16[8,16]{1,0} parameter(0)
  %w = bf16[16,64]{1,0} parameter(1)
  %table = bf16[100,64]{1,0} parameter(2)
  %rows = s32[4]{0} parameter(3)
  %image = bf16[2,6,5,8]{3,2,1,0} parameter(4)
  %kernel = bf16[4,3,3,2]{3,2,1,0} parameter(5)
  %gemm_fusion = bf16[8,64]{1,0} fusion(%x, %w), kind=kCustom, calls=%fused_dot, backend_config={"fusion_backend_config":{"kind":"__triton_gemm"}}
  %gemm = (bf16[8,64]{1,0}, s8[4194304]{0}) custom-call(%x, %w), custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %got = bf16[8,64]{1,0} get-tuple-element(%gemm), index=0
  %taken = bf16[4,64]{1,0} fusion(%table, %rows), kind=kLoop, calls=%fused_rows
  %scattered = bf16[100,64]{1,0} fusion(%table, %rows, %taken), kind=kInput, calls=%fused_scatter
  %conv = (bf16[2,3,3,4]{3,2,1,0}, u8[0]{0}) custom-call(%image, %kernel), window={size=3x3 stride=2x2 pad=0_1x1_1}, dim_labels=b01f_o01i->b01f, feature_group_count=4, custom_call_target="__cudnn$convForward"
  %grown = bf16[2,3,3,4]{3,2,1,0} get-tuple-element(%conv), index=0
  %back = (bf16[4,3,3,2]{3,2,1,0}, u8[1024]{0}) custom-call(%image, %grown), window={size=3x3 stride=2x2 pad=0_1x1_1}, dim_labels=b01f_o01i->b01f, feature_group_count=4, custom_call_target="__cudnn$convBackwardFilter"
  %zero = s32[] constant(0)
  %tuple.2 = (s32[], bf16[8,64]{1,0}) tuple(%zero, %got)
  %while.1 = (s32[], bf16[8,64]{1,0}) while(%tuple.2), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  ROOT %last = bf16[8,64]{1,0} get-tuple-element(%while.1), index=1
}
"""  # noqa: E501


def test_a_gpu_program_is_counted_as_by_hand():
    product = 2 * (8 * 16 + 16 * 64 + 8 * 64)  # of either kind; scratch is not moved
    taken = 2 * 4 * 64 + 4 * 4 + 2 * 4 * 64  # rows, indices, result
    scattered = 2 * 4 * 64 + 4 * 4 + 2 * 2 * 4 * 64  # updates, indices, rows changed
    convolved = 2 * (2 * 6 * 5 * 8 + 4 * 3 * 3 * 2 + 2 * 3 * 3 * 4)  # either direction
    copied = 2 * 2 * 8 * 64
    module = parse(GPU_PROGRAM)
    assert hbm_bytes(module) == (
        2 * product + taken + scattered + 2 * convolved + copied
    )
    assert count_kernels(module) == {
        "cuDNN convolution": 2,
        "Triton": 1,
        "cuBLAS product": 1,
        "gather": 1,
        "scatter": 1,
        "copy": 1,
    }
    assert nondeterministic(module) == ["jit(step)/transpose(jvp(pool))/scatter-add"]
    assert module.loops() == [7]


def test_products_and_convolutions_of_a_gpu_program_are_counted_as_by_hand():
    # Windows begin at rows 0, 2, 4 of 6: one of nine taps is outside. They begin at
    # columns -1, 1, 3 of 5: the first tap of the first and the last of the last are.
    places = 8 * 7
    convolution = 2 * places * 2 * 2 * 4  # inputs of a group, images, outputs
    assert executed_flops(parse(GPU_PROGRAM)) == (
        2 * (2 * 8 * 16 * 64) + 2 * convolution
    )


def test_sums_of_integers_and_at_unique_places_have_one_result():
    unique = GPU_PROGRAM.replace(
        "to_apply=%sum,", "to_apply=%sum, unique_indices=true,"
    )
    assert nondeterministic(parse(unique)) == []
    assert (
        nondeterministic(parse(GPU_PROGRAM.replace("bf16[100,64]", "s32[100,64]")))
        == []
    )


def test_a_strided_gradient_counts_no_zeros():
    """A gradient of a convolution of stride 2, as a TPU's program computes it."""
    text = """
ENTRY %main (x: bf16[1,4,1], k: bf16[2,1,1]) -> bf16[1,8,1] {
  %x = bf16[1,4,1]{2,1,0} parameter(0)
  %k = bf16[2,1,1]{2,1,0} parameter(1)
  ROOT %c = bf16[1,8,1]{2,1,0} convolution(%x, %k), window={size=2 pad=1_1 lhs_dilate=2 rhs_reversal=1}, dim_labels=b0f_0io->b0f
}
"""  # noqa: E501
    assert executed_flops(parse(text)) == 2 * 8  # every output meets one input


def test_a_missing_plugin_is_reported(monkeypatch):
    monkeypatch.setattr(gpu_chips, "_PLUGINS", ("jax_plugins.absent",))
    with pytest.raises(ValueError, match=r"h100:1 needs .* abaw_jax\[cuda-aot\]"):
        hardware.topology_devices("h100:1")


@pytest.mark.parametrize(
    "number", ["", ":", ":0", ":2x2", ":9", ":100000", ":²", ":" + "9" * 19]
)
def test_a_topology_of_gpus_is_a_chip_and_a_number(number):
    with pytest.raises(ValueError, match="one machine, 1 to 8: h100:1, h100:8"):
        hardware.topology_devices(f"h100{number}")


@pytest.mark.parametrize("name", ["h200:1", "l4:1", "v100:1", "", "v5e", "v5e:٢x٢"])
def test_a_name_of_no_gpu_and_no_tpu_is_refused_with_those_that_are_known(name):
    with pytest.raises(ValueError, match=r"unknown name .*v5e:1x1.* h100:1, b200:1"):
        hardware.topology_devices(name)


def test_names_of_gpus_may_be_in_upper_case(monkeypatch):
    asked = []
    monkeypatch.setattr(hardware, "gpu_devices", asked.append)
    hardware.topology_devices("H100:1")
    assert asked == ["h100:1"]
    assert hardware.compiler_options("H100:1") == hardware.compiler_options("h100:1")


def test_a_step_is_compiled_for_a_gpu_that_is_not_there():
    pytest.importorskip("jax_plugins.xla_cuda12", reason="abaw_jax[cuda-aot]")
    (device,) = hardware.topology_devices("h100:1")
    assert hardware.peak_of(device).memory == 80e9
    there = jax.sharding.SingleDeviceSharding(device)
    shape = jax.ShapeDtypeStruct((512, 512), jnp.bfloat16, sharding=there)
    program = (
        jax.jit(jnp.matmul)
        .lower(shape, shape)
        .compile(compiler_options=hardware.compiler_options("h100:1"))
    )
    found = read_program(program, "gpu")
    assert found.flops == 2 * 512**3 and found.hbm_bytes == 3 * 2 * 512**2
    assert found.kernels == {"cuBLAS product": 1}


def test_a_table_has_a_row_for_each_step_and_chip(monkeypatch, tmp_path):
    found = {
        "name": "heads",
        "peak_bytes": 3e9,
        "hbm_bytes": 2e9,
        "floor_bytes": 1e9,
        "flops": 4,
        "model_flops": 3,
        "kernels": {"copy": 1000, "sort": 2},
        "nondeterministic": ["jit(a)/scatter-add"],
        "roofline_seconds": 0.001,
    }

    def profile(config, step, *, topology, **rest):
        if topology == "t4:1":
            raise session.NotCompiled("heads does not fit: RESOURCE_EXHAUSTED")
        return found

    monkeypatch.setattr(session, "profile", profile)
    monkeypatch.setattr(session, "show", lambda *_: None)
    monkeypatch.setattr(session, "check_request", lambda *_: None)
    config, file = student.get_config(), tmp_path / "table.md"
    compiled_table.write(config, ["heads"], ["h100:1", "t4:1"], None, file)
    head, _, *rows = file.read_text().splitlines()
    assert rows == [
        "| heads | h100:1 | 3 GB | 2 GB (1 GB) | 4 FLOP (3 FLOP) | 1,002 | 1 | 1 ms |",
        "| heads | t4:1 | heads does not fit: RESOURCE_EXHAUSTED | | | | | |",
    ]
    assert {row.count("|") for row in (head, *rows)} == {9}


def test_a_wrong_setting_leaves_the_table_that_was_there(monkeypatch, tmp_path):
    monkeypatch.setattr(session, "topology_devices", lambda name: [])
    monkeypatch.setattr(session, "show", lambda *_: None)
    config, file = student.get_config(), tmp_path / "table.md"
    file.write_text("the former")

    def write():
        compiled_table.write(config, ["extract"], ["t4:1"], None, file)

    config.dtype = "nonsense"
    with pytest.raises(ValueError, match=r"config\.dtype is 'nonsense': give auto"):
        write()
    assert file.read_text() == "the former"
    assert [*tmp_path.iterdir()] == [file]


def test_an_interrupted_table_keeps_its_rows_and_the_former_table(
    monkeypatch, tmp_path
):
    def profile(config, step, *, topology, **rest):
        if topology == "a100:1":
            raise KeyboardInterrupt
        raise session.NotCompiled("heads does not fit")

    monkeypatch.setattr(session, "profile", profile)
    monkeypatch.setattr(session, "check_request", lambda *_: None)
    config, file = student.get_config(), tmp_path / "table.md"
    file.write_text("the former")
    with pytest.raises(KeyboardInterrupt):
        compiled_table.write(config, ["heads"], ["t4:1", "a100:1"], None, file)
    assert file.read_text() == "the former"
    rows = (tmp_path / "table.md.partial").read_text().splitlines()[2:]
    assert rows == ["| heads | t4:1 | heads does not fit | | | | | |"]
