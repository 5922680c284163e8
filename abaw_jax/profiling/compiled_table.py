"""A Markdown table of what steps become on chips that they are compiled for."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ml_collections import ConfigDict

from abaw_jax.profiling import result, session

_HEAD = (
    "| step | chip | memory | moved (floor) | executed (needed) | kernels | any order "
    "| at best |",
    "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def write(
    config: ConfigDict,
    steps: Sequence[str],
    topologies: Sequence[str],
    frames: int | None,
    path: Path,
) -> None:
    """Compiles every step for every topology and writes a row for each.

    What a chip's compiler or memory refuses is a row with the reason. Compiling takes
    minutes a row: rows are kept in ``PATH.partial``, which replaces the former table
    when all are known.

    Args:
      config: as of `session.profile`.
      steps: of `STEPS`.
      topologies: as "h100:1" or "v5e:1x1".
      frames: rows of the feature table.
      path: of the Markdown file.

    Raises:
      ValueError: as of `session.check_request`.
    """
    session.check_request(config, steps, topologies, frames)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w") as file:
        for line in chain(_HEAD, _rows(config, steps, topologies, frames)):
            print(line, file=file, flush=True)
    os.replace(partial, path)


def _rows(
    config: ConfigDict,
    steps: Sequence[str],
    topologies: Sequence[str],
    frames: int | None,
) -> Iterator[str]:
    for step in steps:
        for topology in topologies:
            try:
                found = session.profile(
                    config.copy_and_resolve_references(),
                    step,
                    topology=topology,
                    frames=frames,
                    calls=1,
                    trace=None,
                )
                session.show(found, None, None)
                cells = _cells(found)
            except session.NotCompiled as error:
                cells = [str(error), *[""] * 5]
            yield (
                " ".join(f"| {cell}".rstrip() for cell in (step, topology, *cells))
                + " |"
            )


def _cells(found: result.Profile) -> list[str]:
    """Figures of one profile, those that it lacks as a dash."""

    def shown(name: str, unit: str) -> str:
        return result.quantity(found[name], unit) if name in found else "-"

    order = found.get("nondeterministic")
    return [
        shown("peak_bytes", "B"),
        f"{shown('hbm_bytes', 'B')} ({shown('floor_bytes', 'B')})",
        f"{shown('flops', 'FLOP')} ({shown('model_flops', 'FLOP')})",
        f"{sum(found['kernels'].values()):,}",
        "-" if order is None else str(len(order)),
        shown("roofline_seconds", "s"),
    ]
