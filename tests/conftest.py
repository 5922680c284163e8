"""What every test runs under: four virtual CPU devices and strict shapes."""

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version

# What is tested here takes longer to compile than to run: a student's round 9 s instead
# of 15; with the older emitters, which JAX has until 0.10, 6.4 s instead of 13.4.
# Splitting a program for parallel compilation costs 13 % more CPU time, and the workers
# use all cores already. Programs that tests start inherit the flags.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false"
        if version("jax").startswith("0.10.")
        else "",
    ]
)
# Hundreds of small programs take 60 ms each.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest
from absl import flags

from abaw_jax.freed_memory import release_freed_memory

# As in `abaw_jax.command_line`: tests trace more than they train.
gc.set_threshold(100_000, 10, 10)

# Before anything touches a device: these settings are read once, at first use.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# grain reads absl flags when it starts workers, and pytest never parses them.
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that compile the same program do so once: measured 58 s to 9 s for one.

    The folder is this process's own. Workers that shared one could read an entry while
    another still writes it, for entries are not put in place atomically.
    """
    directory = str(tmp_path_factory.mktemp("compiled"))
    jax.config.update("jax_compilation_cache_dir", directory)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory  # of programs that tests start


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Frees the programs of a file; a worker that kept all of them grew to 12 GB."""
    yield
    jax.clear_caches()
    gc.collect()
    release_freed_memory()


@pytest.fixture
def key() -> jax.Array:
    """A fixed root key; tests that need several split or fold it."""
    return jax.random.key(0)
