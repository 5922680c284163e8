"""Shardings of all arrays; the only module that names a mesh axis.

Two axes over the devices of all processes: members of a population, and rows of a
batch. Batch statistics stay global: CCC because the compiler sees the whole batch of a
member, batch normalisation because it asks the other devices for theirs (see
`abaw_jax.kernels.cross_device`). Batches do not depend on the number of devices, so a
run continues on another number of them; the compiler also splits rows that do not
divide evenly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

Network = Callable[[Any, Any, Any], tuple[Any, Any]]
"""``network(params, shared, inputs) -> (outputs, changed)``: rows in, rows out."""


@dataclass(frozen=True)
class Shardings:
    """Placements on the mesh.

    Attributes:
      mesh: axes "members" and "data".
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """One copy per device: feature table, cached soft labels."""
        return self._over()

    @property
    def members(self) -> NamedSharding:
        """``[K, ...]`` arrays, split along K: state, teachers, keys."""
        return self._over("members")

    @property
    def weights(self) -> NamedSharding:
        """``[R, K, ...]`` arrays, split along K."""
        return self._over(None, "members")

    @property
    def platform(self) -> str:
        """Platform of the devices: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    def rows(self, size: int) -> NamedSharding:
        """``[R, K, B, ...]`` arrays with ``size`` rows a batch."""
        return self._rows(size, None, "members")

    def split_rows(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Inside a program: ``[B, ...]`` arrays, each device computes its rows."""
        rows = self._over("data")
        return {
            key: jax.lax.with_sharding_constraint(value, rows)
            for key, value in batch.items()
        }

    def by_rows(self, network: Network) -> Network:
        """Inside a program: each device runs ``network`` on its own rows.

        The compiler would sum every gradient over the devices as soon as it has it;
        here all of them leave the network as one vector, which is summed once. Rows
        that do not divide evenly are left to the compiler.
        """
        devices = self.mesh.shape["data"]

        def split(params: Any, shared: Any, inputs: Any) -> Any:
            if devices == 1 or len(jax.tree.leaves(inputs)[0]) % devices:
                return network(params, shared, inputs)
            vector, unravel = ravel_pytree(params)

            def own(vector: jax.Array, shared: Any, inputs: Any) -> Any:
                params = unravel(jax.lax.pcast(vector, "data", to="varying"))
                return network(params, shared, inputs)

            whole, rows = PartitionSpec(), PartitionSpec("data")
            return jax.shard_map(
                own,
                mesh=self.mesh,
                in_specs=(whole, whole, rows),
                out_specs=(rows, whole),
                axis_names={"data"},
            )(vector, shared, inputs)

        return split

    def process_rows(self, size: int) -> slice:
        """Rows of a batch of ``size`` that this process provides."""
        rows = self._rows(size).addressable_devices_indices_map((size,)).values()
        each = [index[0].indices(size) for index in rows if index is not None]
        return slice(min(first for first, *_ in each), max(end for _, end, _ in each))

    def place_rounds(
        self, chunk: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
    ) -> dict[str, dict[str, jax.Array]]:
        """Puts ``{set: {key: [R, K, B, ...]}}`` on the devices.

        Args:
          chunk: with `process_rows` of every batch.
          sizes: whole batches, by set.
        """
        return {
            name: {
                key: self._place_rows(values, 2, sizes[name])
                for key, values in item.items()
            }
            for name, item in chunk.items()
        }

    def place_batches(
        self, chunk: Mapping[str, Any], size: int
    ) -> dict[str, jax.Array]:
        """Puts ``{key: [R, B, ...]}``, `process_rows` of batches of ``size``, there."""
        return {key: self._place_rows(v, 1, size) for key, v in chunk.items()}

    def _over(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _rows(self, size: int, *leading: str | None) -> NamedSharding:
        """Only even splits may cross into a program; others are made inside it."""
        even = size % self.mesh.shape["data"] == 0
        return self._over(*leading, "data" if even else None)

    def _place_rows(self, values: Any, axis: int, size: int) -> jax.Array:
        sharding = self._rows(size, *(None, "members")[:axis])
        if jax.process_count() == 1:
            return jax.device_put(values, sharding)
        first = self.process_rows(size).start

        def cut(index: Any) -> np.ndarray:
            start, stop, _ = index[axis].indices(size)
            rows = slice(start - first, stop - first)
            return values[(*index[:axis], rows, *index[axis + 1 :])]

        shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
        return jax.make_array_from_callback(shape, sharding, cut)


def put_on_devices(tree: Any, sharding: Sharding) -> Any:
    """Puts arrays that every process holds whole on the devices of all."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _place_everywhere(leaf, sharding), tree)


def _place_everywhere(leaf: Any, sharding: Sharding) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _place_everywhere(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)

    def cut(index: Any) -> np.ndarray:
        return values[index]

    return jax.make_array_from_callback(values.shape, sharding, cut)


def over_all_devices(members: int = 1) -> Shardings:
    """Shardings over the devices of all processes.

    Members share no arithmetic, so as many devices as divide them take whole members;
    what is left divides each batch.
    """
    return over_devices(jax.devices(), members)


def over_own_devices() -> Shardings:
    """Shardings over the devices of this process, for work that is shared out."""
    return over_devices(jax.local_devices())


def over_devices(devices: Sequence[Any], members: int = 1) -> Shardings:
    """The same over these devices, which may be ones to compile for only."""
    groups = math.gcd(members, len(devices))
    # Explicit axes, the default, do not scan a linen LSTM (its carry starts unsharded).
    return Shardings(
        jax.make_mesh(
            (groups, len(devices) // groups),
            ("members", "data"),
            axis_types=(AxisType.Auto, AxisType.Auto),
            devices=devices,
        )
    )
