"""Peak figures of devices, and devices to compile for that need not be present."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from abaw_jax.profiling.gpu_chips import CHIPS, COMPILER_OPTIONS, gpu_devices


@dataclass(frozen=True)
class Peak:
    """Peak performance of one device, by its maker's data sheet.

    Attributes:
      flops: bfloat16 operations a second, or float32 where it has no bfloat16.
      bandwidth: bytes a second from its memory.
      memory: bytes.
      link: bytes a second to one neighbour.
    """

    flops: float
    bandwidth: float
    memory: float
    link: float


PEAKS: Mapping[str, Peak] = {
    "TPU v4": Peak(275e12, 1228e9, 32e9, 50e9),
    "TPU v5 lite": Peak(197e12, 819e9, 15.75 * 2**30, 50e9),
    "TPU v5": Peak(459e12, 2765e9, 95e9, 100e9),
    "TPU v6 lite": Peak(918e12, 1640e9, 31.25 * 2**30, 100e9),
    "Tesla T4": Peak(8.1e12, 320e9, 15.8e9, 16e9),
    "NVIDIA A100": Peak(312e12, 2039e9, 80e9, 300e9),
    "NVIDIA H100": Peak(989e12, 3350e9, 80e9, 450e9),
    "NVIDIA H200": Peak(989e12, 4800e9, 141e9, 450e9),
    "NVIDIA B200": Peak(2250e12, 7700e9, 191e9, 900e9),
}
"""Peaks by the beginning of a device's kind."""


def peak_of(device: Any) -> Peak | None:
    """Returns the peak of a device, or ``None`` for one not listed, as CPUs."""
    kind = device.device_kind
    known = [name for name in PEAKS if kind.startswith(name)]
    return PEAKS[max(known, key=len)] if known else None


_TPU_SLICE = re.compile(r"(v|tpu)\d\w*:\d+(x\d+)+", re.ASCII)  # v5e:2x4, tpu7x:2x2x1


def topology_devices(name: str) -> list[Any]:
    """Devices of a TPU slice or GPUs to compile for, which need not be present.

    Args:
      name: as "v5e:2x4" or "h100:1", in lower or upper case.

    Raises:
      ValueError: if the compiler is not installed or does not know the name.
    """
    name = name.lower()
    if _is_gpu(name):
        return gpu_devices(name)
    known = (
        "name a TPU slice as v5e:1x1, v5e:2x4, v6e:2x4, v4:2x2x1, or a GPU as "
        f"{', '.join(f'{chip}:1' for chip in CHIPS)}"
    )
    if not _TPU_SLICE.fullmatch(name):
        raise ValueError(f"--topology has the unknown name {name!r}; {known}")
    # libtpu would look for a TPU and its metadata server, for minutes.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    shape = name.partition(":")[2]
    one = {"chips_per_host_bounds": (1, 1, 1)} if set(shape) <= set("1x") else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **one)
    except Exception as error:  # whatever libtpu, or its absence, raises
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"--topology={name} cannot be compiled for "
            f"({reason[0] if reason else type(error).__name__}): run "
            f"pip install jax[tpu], or {known}"
        ) from None
    return list(found.devices)


def compiler_options(name: str | None) -> Mapping[str, Any]:
    """What XLA needs to know to compile for a topology; ``None`` is this machine."""
    return COMPILER_OPTIONS if name and _is_gpu(name.lower()) else {}


def _is_gpu(name: str) -> bool:
    return name.partition(":")[0] in CHIPS


def roofline_seconds(flops: float, moved: float, peak: Peak) -> float:
    """No step is faster: the longer of computing and of moving bytes to memory."""
    return max(flops / peak.flops, moved / peak.bandwidth)
