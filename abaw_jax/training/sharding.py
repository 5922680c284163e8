"""Where arrays live: the only file that names a mesh axis.

One axis over all devices: batches are split along it, everything else is replicated.
Batch statistics (CCC, batch normalisation) stay global, because the compiler sees the
whole batch.
"""

from dataclasses import dataclass

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Shardings:
    """Placements on the mesh.

    Attributes:
      replicated: one copy per device: state, teacher, weights, feature table.
      rounds: ``[R, B, ...]`` arrays, split along B.
      num_devices: size of the mesh; batches are multiples of it.
    """

    replicated: NamedSharding
    rounds: NamedSharding
    num_devices: int


def over_all_devices() -> Shardings:
    """Shardings over every device of this process, one batch part each."""
    # Explicit axes, the default, do not scan a linen LSTM (its carry starts unsharded).
    devices = jax.devices()
    mesh = jax.make_mesh(
        (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )
    return Shardings(
        replicated=NamedSharding(mesh, PartitionSpec()),
        rounds=NamedSharding(mesh, PartitionSpec(None, "data")),
        num_devices=len(devices),
    )
