"""What every test runs under: four virtual CPU devices and strict shapes."""

import jax
import pytest
from absl import flags

# Before anything touches a device: these settings are read once, at first use.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# grain reads absl flags when it starts workers, and pytest never parses them.
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
    """A fixed root key; tests that need several split or fold it."""
    return jax.random.key(0)
