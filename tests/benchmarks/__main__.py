"""All benchmarks, or some of them, against the usual way and against PyTorch.

    pip install -e .[bench]
    python -m tests.benchmarks                   everything, about fifteen minutes
    python -m tests.benchmarks input rounds      only these
    python -m tests.benchmarks kernels           what each form of a kernel gains
    python -m tests.benchmarks gpu               on a GPU: its numerics and its kernels
    python -m tests.benchmarks.gpu_run           on a GPU: a run, stopped and continued

Nothing is timed before both sides have been checked to give the same result. Times are
medians of sides that take turns in one process, so their ratios mean something.
"""

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

from tests.benchmarks import timing

TOPICS = ("input", "rounds", "encoders")
# Not among the rest: the first needs no PyTorch, the second says little on a CPU.
KERNELS, GPU = "kernels", "gpu"


def main() -> None:
    """Reads the flags, compares, prints a table for each topic and writes the times."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=", ".join((*TOPICS, KERNELS, GPU))
    )
    parser.add_argument("--json", type=Path, help="also write every time to this file")
    parser.add_argument("--repetitions", type=int, default=9, help="at least 7")
    flags = parser.parse_args()
    if unknown := set(flags.topics) - {*TOPICS, KERNELS, GPU}:
        parser.error(f"no benchmark {', '.join(unknown)}; choose {', '.join(TOPICS)}")
    if flags.repetitions < 7:
        parser.error("one disturbance moves a median of fewer than 7 repetitions")
    if flags.json and not flags.json.parent.is_dir():
        parser.error(f"there is no folder {flags.json.parent}")
    if flags.topics != [KERNELS] and importlib.util.find_spec("torch") is None:
        sys.exit(
            "The benchmarks compare with PyTorch, which is not installed: "
            "pip install torch, or pip install -e .[bench]"
        )
    done = {}
    for name in flags.topics or TOPICS:
        topic = importlib.import_module(f"tests.benchmarks.{name}")
        done[name] = list(topic.comparisons(flags.repetitions))
        if done[name]:
            timing.show(topic.TITLE, done[name])
        if flags.json:
            timing.write(done, flags.json)


if __name__ == "__main__":
    main()
