"""The model card of a folder: a README in the convention of model hubs."""

from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """\
---
library_name: abaw_jax
license: other
tags:
- affective-computing
- valence-arousal
- facial-expression-recognition
- action-unit-detection
- jax
- flax
---

# {role} of abaw_jax

A network that predicts valence and arousal, eight expressions and twelve facial action
units of one person for one frame of a video, from {reads}. It was trained by abaw_jax
{abaw_jax} after Jeong, Oh and Lim (ABAW3, 2022) on {data}.

```python
import abaw_jax

model = abaw_jax.load("{folder}")
predictions = model(frames, waveform)  # frames {frames}, waveform {waveform}
```

## Inputs

- `frames`: uint8 `{frames}`, RGB, crops of one face; the last one is the frame that is
  predicted, the others stand {stride:g} {unit} apart before it. They are resized to
  {size} x {size} pixels in the network.
- `waveform`: int16 `{waveform}`, mono, {rate:,} samples a second, the {seconds:g}
  seconds before the frame; silence where the video has none.

## Outputs

Valence and arousal in [-1, 1]; probabilities of {expressions}; probabilities of
{units}. A unit counts as present above .5.
{untrained}
{files}## Scores

On the validation sets of {data}, by the official measures (EXPR, AU: mean F1; V, A:
concordance; MTL: the sum of all on the multi-task set), with 95 % intervals over the
validation videos:

{scores}

## Intended use and limits

Research on affect. Expressions that a network reads off a face are not what a person
feels. Scores hold for people, cameras and annotators like those of the training data;
they were not measured by age, sex or skin colour. Not for decisions about people.

## Licence

The weights are made from data that have licences of their own; Aff-Wild2 and AffectNet
are for research only.
"""

_NAMES = {
    "va": "valence and arousal",
    "expr": "expressions",
    "au": "action units",
}

_FILES = """\
## Files for other programs

{lines}

`B` is any number; all is float32, and pixels and samples are scaled inside.

"""


def model_card(contract: Mapping[str, Any]) -> str:
    """The text of ``README.md``.

    Args:
      contract: of the folder.
    """
    inputs, outputs = contract["inputs"], contract["outputs"]
    frames, sound = inputs.get("frames"), inputs.get("waveform")
    parts = [
        frames and f"{frames['shape'][1]} crops of the face",
        sound and f"{sound['seconds']:g} seconds of sound",
    ]
    frames = frames or {"shape": "None", "stride": 0, "unit": "frames", "size": 0}
    sound = sound or {"shape": "None", "rate": 0, "seconds": 0.0}
    return _CARD.format(
        files=_files(contract.get("networks", {})),
        untrained=f"\n**{remark}**\n" if (remark := untrained(contract)) else "",
        role=contract["role"],
        reads=" and ".join(part for part in parts if part),
        abaw_jax=contract["made_by"]["abaw_jax"],
        data=contract["data"]["name"],
        folder=contract["name"],
        frames=_shape(frames["shape"]),
        waveform=_shape(sound["shape"]),
        stride=frames["stride"],
        unit=frames["unit"],
        size=frames["size"],
        rate=sound["rate"],
        seconds=sound["seconds"],
        expressions=", ".join(outputs["expressions"]),
        units=", ".join(outputs["action_units"]),
        scores=_scores_table(contract["scores"], contract["intervals"]),
    )


def untrained(contract: Mapping[str, Any]) -> str | None:
    """Says of which outputs no label was seen in training; None if of none."""
    tasks = contract.get("untrained", ())  # models of earlier versions have no such key
    if not tasks:
        return None
    named = " or ".join(_NAMES[task] for task in tasks)
    return (
        f"No frame that trained this network was labelled with {named}: "
        "what it says of them means nothing."
    )


def _files(networks: Mapping[str, Any]) -> str:
    lines = [
        f"- {' and '.join(f'`{name}`' for name in part['files'])}: "
        f"{_arrays(part['inputs'])} to {_arrays(part['outputs'])}"
        for part in networks.values()
    ]
    return _FILES.format(lines="\n".join(lines)) if lines else ""


def _arrays(arrays: Mapping[str, Any]) -> str:
    return ", ".join(
        f"`{name}` {each['dtype']} `{_shape(each['shape'])}`"
        for name, each in arrays.items()
    )


def _shape(shape: Sequence[Any] | str) -> str:
    return shape if isinstance(shape, str) else f"[{', '.join(map(str, shape))}]"


def _scores_table(
    scores: Mapping[str, float], intervals: Mapping[str, Sequence[float | None]]
) -> str:
    columns = {"valence": "V", "arousal": "A", "expr": "EXPR", "au": "AU", "mtl": "MTL"}
    lines = ["| | score | interval |", "| :--- | ---: | ---: |"]
    for key, name in columns.items():
        if key in scores:
            _, low, high = intervals.get(key, (None, None, None))
            interval = "-" if low is None else f"{low:.2f} to {high:.2f}"
            lines.append(f"| {name} | {scores[key]:.3f} | {interval} |")
    return "\n".join(lines)
