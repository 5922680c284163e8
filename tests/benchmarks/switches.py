"""What each switch of the recommended recipe gains, and what a student gains.

    python -m tests.benchmarks.switches --inputs=runs/quickstart --out=runs/switches

Trains the recipe of the quickstart with four seeds, then without one of its switches
after the other, on the same features; 15 minutes on two CPU cores. Writes a table with
intervals, paired by seed, and a figure. What is complete is not trained again.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.evaluation import seed_plot
from abaw_jax.evaluation.tables import Laboratory, Row, as_markdown
from abaw_jax.experiment import sequence
from configs import quickstart

SEEDS = 4
_STUDENT = {"until": "student"}
RUNS: dict[str, dict[str, Any]] = {
    "recommended": _STUDENT,
    "no image dropout": {"heads.image_dropout": 0.0},
    "dropout .2": {"heads.dropout_rate": 0.2},
    "concatenated": {"heads.fusion": "concatenate", "heads.stream_dropout": 0.0},
    "no stream dropout": {"heads.stream_dropout": 0.0},
    "images alone": {"streams": ("image",)},
    "sound alone": {"streams": ("sound",)},
    "proportional batches": {"train.proportional": True},
    "units unweighted": {"train.unit_weights": False},
    "no average": {"train.average_decay": 0.0},
    "no discriminator": {"heads.discriminator": False},
    "student of eq. 13": {
        **_STUDENT,
        "loss.supervised": 10.0,
        "loss.gamma_rule": "exp",
        "equations.squared_temperature": False,
    },
}


def configure(changes: Mapping[str, Any]) -> ConfigDict:
    """The quickstart with four seeds and these changes, up to the teacher."""
    config = quickstart.get_config()
    config.until = "teacher"
    config.update_from_flattened_dict(dict(changes))
    config.population = tuple({"seed": seed} for seed in range(SEEDS))
    return config


def collect(out: Path) -> Laboratory:
    """All runs as one laboratory, the recommended one first."""
    rows, levels, data = [], {}, ""
    for name in RUNS:
        found = json.loads((out / name / "table1.json").read_text())
        rows += [
            Row(row["role"], {"": name}, row["seed"], row["scores"])
            for row in found["rows"]
        ]
        levels = levels or {k: found[k] for k in ("linear_probe", "chance")}
        data = found["data"]
    return Laboratory(rows, levels, data)


def main() -> None:
    """Trains what is missing, prints the table and writes it with a figure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.switches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=Path, required=True, help="a quickstart")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    for name, changes in RUNS.items():
        sequence.run(configure(changes), flags.out / name, flags.inputs)
    found = collect(flags.out)
    text = as_markdown(found)
    (flags.out / "switches.md").write_text(text)
    seed_plot.draw(found, flags.out / "switches.png")
    print(text)


if __name__ == "__main__":
    main()
