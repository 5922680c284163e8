"""Disturbs a small run again and again, and compares its end with the undisturbed one.

    python -m tests.soak --rounds=200 --minutes=60 --seed=0
    python -m tests.soak --seed=0 --only=17             that round once more

Each round disturbs a copy of the run in one way, calls the command again as its user
would, and asks for the same bits, or for one sentence that says what to do. The exit
code is 1 if a round ended in any other way.
"""

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path


def main() -> None:
    """Reads the flags and plays the rounds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=200, help="at most; default 200")
    parser.add_argument(
        "--minutes", type=float, default=30, help="likewise; default 30"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--only", type=int, help="number of one round to play again")
    parser.add_argument("--disturbance", default="", help="the only one, by its name")
    parser.add_argument("--out", type=Path, help="file for everything, as JSON")
    parser.add_argument(
        "--work", type=Path, help="folder that is kept, with the undisturbed run"
    )
    parser.add_argument(
        "--short", action="store_true", help="without sound and student, as tests do"
    )
    flags = parser.parse_args()
    work = flags.work or Path(tempfile.mkdtemp(prefix="soak-"))
    _prepare_jax(work.absolute())
    from tests.soak import session  # imports JAX

    numbers = range(flags.rounds) if flags.only is None else [flags.only]
    plan = session.Plan(flags.seed, numbers, 60 * flags.minutes, flags.disturbance)
    good = session.soak(work.absolute(), plan, flags.out, short=flags.short)
    if good and not flags.work:
        shutil.rmtree(work)
    sys.exit(not good)


def _prepare_jax(work: Path) -> None:
    """One device, and compiled programs in a folder that all calls share."""
    programs = work / "programs"
    programs.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
    import jax

    from tests import conftest  # noqa: F401  compiles faster

    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_numpy_rank_promotion", "allow")
    # Processes are forked before any uses a device.
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)


if __name__ == "__main__":
    main()
