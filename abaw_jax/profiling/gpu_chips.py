"""GPUs to compile for without one, by the figures that XLA's compiler asks for.

The names and the meaning of the fields are those of XLA's GpuTargetConfigProto.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Chip:
    """One kind of GPU.

    Attributes:
      kind: its name, as a device of it calls itself.
      capability: CUDA's compute capability.
      cores: streaming multiprocessors.
      lanes: float32 units of each.
      threads: that each holds.
      shared: bytes of memory that its threads share.
      block_shared: the most of these that one block may ask for.
      cache: bytes of the L2 cache.
      bandwidth: bytes a second from its memory.
      memory: bytes.
      clock: in GHz.
    """

    kind: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    threads: int
    shared: int
    block_shared: int
    cache: int
    bandwidth: int
    memory: int
    clock: float

    @property
    def description(self) -> str:
        """Text form of XLA's GpuTargetConfigProto."""
        major, minor = self.capability
        # From Hopper on a chip has instructions that no other generation runs (sm_90a).
        own = " feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
        return f"""
            platform_name: "CUDA"
            device_description_str: "{self.kind}"
            dnn_version_info {{ major: 9 minor: 10 }}
            gpu_device_info {{
              cuda_compute_capability {{ major: {major} minor: {minor}{own} }}
              core_count: {self.cores}
              fpus_per_core: {self.lanes}
              threads_per_core_limit: {self.threads}
              shared_memory_per_core: {self.shared}
              shared_memory_per_block_optin: {self.block_shared}
              l2_cache_size: {self.cache}
              memory_bandwidth: {self.bandwidth}
              device_memory_size: {self.memory}
              clock_rate_ghz: {self.clock}
              {_OF_ALL}
            }}"""


# The same of every chip since 2018.
_OF_ALL = """
              threads_per_block_limit: 1024
              threads_per_warp: 32
              shared_memory_per_block: 49152
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647
              block_dim_limit_y: 65535
              block_dim_limit_z: 65535
              thread_dim_limit_x: 1024
              thread_dim_limit_y: 1024
              thread_dim_limit_z: 64"""

CHIPS: Mapping[str, Chip] = {
    "t4": Chip(
        kind="Tesla T4",
        capability=(7, 5),
        cores=40,
        lanes=64,
        threads=1024,
        shared=65_536,
        block_shared=65_536,
        cache=4 << 20,
        bandwidth=320_064_000_000,
        memory=15_843_721_216,
        clock=1.59,
    ),
    "a100": Chip(
        kind="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        cores=108,
        lanes=64,
        threads=2048,
        shared=167_936,
        block_shared=166_912,
        cache=40 << 20,
        bandwidth=2_039_040_000_000,
        memory=85_100_068_864,
        clock=1.41,
    ),
    "h100": Chip(
        kind="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        lanes=128,
        threads=2048,
        shared=233_472,
        block_shared=232_448,
        cache=50 << 20,
        bandwidth=3_352_320_000_000,
        memory=84_942_979_072,
        clock=1.98,
    ),
    "b200": Chip(
        kind="NVIDIA B200",
        capability=(10, 0),
        cores=148,
        lanes=128,
        threads=2048,
        shared=233_472,
        block_shared=232_448,
        cache=132_644_864,
        bandwidth=7_672_320_000_000,
        memory=191_514_411_008,
        clock=1.965,
    ),
}
"""By the names of ``--topology``."""

# What an HGX or DGX machine holds. The 72 of a rack (NVL72) are 18 machines.
_COUNTS = [str(count) for count in range(1, 9)]

_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
COMPILER_OPTIONS = {"xla_gpu_enable_triton_gemm": False}
"""Products go to cuBLAS: without a GPU there is no tuning to choose Triton's tiles by,
and its compiler refuses float32 products of the highest precision."""


def gpu_devices(name: str) -> list[Any]:
    """GPUs of one machine to compile for, which need not be present.

    Args:
      name: as "h100:1" or "h100:8".

    Raises:
      ValueError: if the chip is unknown, one machine does not hold so many, or JAX's
        CUDA plugin is not installed.
    """
    chip, _, count = name.partition(":")
    if chip not in CHIPS or count not in _COUNTS:
        raise ValueError(
            f"--topology={name} is unknown; name a GPU as {', '.join(CHIPS)} and how "
            f"many of one machine, {_COUNTS[0]} to {_COUNTS[-1]}: h100:1, h100:8"
        )
    if not any(map(_is_installed, _PLUGINS)):
        raise ValueError(
            f"--topology={name} needs JAX's CUDA plugin, which is not installed: "
            "pip install abaw_jax[cuda-aot]"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # that there is no driver
    jax.config.update("jax_platforms", "cpu")  # nothing runs on a GPU
    from jax.experimental import topologies

    found = topologies.get_topology_desc(
        platform="cuda",
        topology_name="",
        topology=f"1x1x{count}",
        target_config=CHIPS[chip].description,
    )
    return list(found.devices)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
