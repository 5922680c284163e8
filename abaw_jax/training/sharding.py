"""Where arrays live: the only file that names a mesh axis.

Two axes over all devices: members of a population, and rows of a batch. Batch
statistics (CCC, batch normalisation) stay global, because the compiler sees the whole
batch of a member.
"""

import math
from dataclasses import dataclass

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Shardings:
    """Placements on the mesh.

    Attributes:
      replicated: one copy per device: feature table, bank of soft labels.
      members: ``[K, ...]`` arrays, split along K: state, teachers, keys.
      weights: ``[R, K, ...]`` arrays, split along K.
      rounds: ``[R, K, B, ...]`` arrays, split along K and B.
      evaluation: ``[R, B, ...]`` arrays, split along B.
      num_devices: that share the rows of a batch; batches are multiples of it.
    """

    replicated: NamedSharding
    members: NamedSharding
    weights: NamedSharding
    rounds: NamedSharding
    evaluation: NamedSharding
    num_devices: int


def over_all_devices(members: int = 1) -> Shardings:
    """Shardings over every device of this process.

    Members share no arithmetic, so as many devices as divide them take whole members;
    what is left divides each batch.
    """
    devices = jax.devices()
    groups = math.gcd(members, len(devices))
    # Explicit axes, the default, do not scan a linen LSTM (its carry starts unsharded).
    mesh = jax.make_mesh(
        (groups, len(devices) // groups),
        ("members", "data"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )

    def placed(*axes: str | None) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*axes))

    return Shardings(
        replicated=placed(),
        members=placed("members"),
        weights=placed(None, "members"),
        rounds=placed(None, "members", "data"),
        evaluation=placed(None, "data"),
        num_devices=len(devices) // groups,
    )
