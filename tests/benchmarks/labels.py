"""What a student gains over its teacher, by the share of labels of expressions.

    python -m tests.benchmarks.labels --inputs runs/q0 runs/q1 --out=runs/labels

On the features of finished quickstarts of different seeds, that is of different people
and encoders, only a share of the people with labels of expressions keeps them; all
other labels and their frames stay, of which the student learns expressions. Four
seeds of the networks for each share and quickstart, 12 minutes a quickstart on two CPU
cores. Writes a table with intervals, paired by seed, and a figure. What is complete is
not trained again.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from ml_collections import ConfigDict

from abaw_jax.evaluation.plot_style import CHANCE, colour_of, new_figure
from abaw_jax.evaluation.tables import Difference, Laboratory, Row, as_markdown
from abaw_jax.experiment import sequence
from abaw_jax.releases.labels import Labels
from abaw_jax.store.reader import Store
from configs import quickstart

SHARES = (0.125, 0.25, 0.5, 1.0)
SEEDS = 4
EPOCHS = 12  # teachers are best at epoch 6 to 11 of 20
_SHOWN = {"expr": "EXPR", "au": "AU", "va": "VA", "mtl": "MTL"}


def keep_people(labels: Labels, share: float) -> Labels:
    """The rows of an evenly spaced share of the people who have labels."""
    people = np.unique(labels.subject)
    kept = np.isin(labels.subject, people[:: round(1 / share)])
    names = [field.name for field in dataclasses.fields(labels)]
    return Labels(**{name: getattr(labels, name)[kept] for name in names})


def configure(inputs: Path) -> ConfigDict:
    """A finished quickstart with four seeds of its networks, for fewer epochs."""
    config = quickstart.get_config()
    finished = json.loads((inputs / "result.json").read_text())
    config.seed = finished["settings"]["seed"]
    config.train.epochs = EPOCHS
    config.population = tuple({"seed": seed} for seed in range(SEEDS))
    return config


def train(inputs: Path, out: Path, share: float) -> None:
    """Teachers and students with a share of the labels of expressions."""
    every = Store.labels

    def some(self: Store, set_name: str, split: str) -> Labels:
        labels = every(self, set_name, split)
        fewer = set_name == "expr" and split == "train"
        return keep_people(labels, share) if fewer else labels

    with mock.patch.object(Store, "labels", some):
        sequence.run(configure(inputs), out, inputs)


def collect(folders: Sequence[Sequence[Path]]) -> Laboratory:
    """All runs as one laboratory; each quickstart's networks have other seeds."""
    rows, levels = [], {}
    for share, folder in zip(SHARES, folders, strict=True):
        for number, path in enumerate(folder):
            found = json.loads((path / "table1.json").read_text())
            levels = {name: found[name] for name in ("linear_probe", "chance")}
            rows += [
                Row(
                    row["role"],
                    {"share": f"{share:g}"},
                    SEEDS * number + row["seed"],
                    row["scores"],
                )
                for row in found["rows"]
            ]
    data = f"{len(folders[0])} quickstarts; share of people with labels of expressions."
    return Laboratory(rows, levels, data)


def draw(differences: Sequence[Difference], path: Path) -> None:
    """A panel per score: student minus teacher by the share of labels."""
    with new_figure(path, 11, 3) as figure:
        panels = figure.subplots(1, len(_SHOWN), sharey=True)
        for axes, (key, name) in zip(panels, _SHOWN.items(), strict=True):
            means, lows, highs = zip(*(d.scores[key] for d in differences), strict=True)
            axes.axhline(0, color=CHANCE, lw=1.2, ls="--")
            axes.vlines(SHARES, lows, highs, color=colour_of("student"), lw=2)
            axes.plot(SHARES, means, "o", color=colour_of("student"), ms=7)
            axes.set_xscale("log", base=2)
            axes.set_xticks(SHARES, [f"{share:.3g}" for share in SHARES])
            axes.set_title(name)
        figure.supxlabel("share of the people with labels of expressions")
        panels[0].set_ylabel("student - teacher")


def main() -> None:
    """Trains what is missing, prints the table and writes it with the figure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    folders = [
        [flags.out / f"{share:g}-{k}" for k in range(len(flags.inputs))]
        for share in SHARES
    ]
    for share, outs in zip(SHARES, folders, strict=True):
        for inputs, out in zip(flags.inputs, outs, strict=True):
            train(inputs, out, share)
    found = collect(folders)
    text = as_markdown(found)
    (flags.out / "labels.md").write_text(text)
    better = [d for d in found.differences() if d.better == "student"]
    draw([d for d in better if d.than == "teacher"], flags.out / "labels.png")
    print(text)


if __name__ == "__main__":
    main()
