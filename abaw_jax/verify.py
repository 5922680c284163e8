"""Compares every file of a store, a run or a model folder with its digest.

python -m abaw_jax.verify PATH

One line names each damaged file; then the command ends with 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app

from abaw_jax import command_line


def main(argv: Sequence[str]) -> None:
    """Prints what is damaged in the folder that the argument names."""
    if len(argv) != 2:
        raise app.UsageError("Name one folder: python -m abaw_jax.verify PATH.")
    # What compares takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.inference.verification import verify
    from abaw_jax.report import console

    damaged = files = 0
    try:
        for path, reason in verify(Path(argv[1]).expanduser()):
            files += sum(map(Path.is_file, path.rglob("*"))) if path.is_dir() else 1
            if reason:
                damaged += 1
                print(f"{path}: {reason}")
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.verify: {error}")
    if damaged:
        sys.exit(1)
    if not files:
        sys.exit(
            f"abaw_jax.verify: {argv[1]} holds no file with a digest: name a store, a "
            "run or a model folder."
        )
    are = "1 file is as it was" if files == 1 else f"{files:,} files are as they were"
    console.say(f"{are} written")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
