"""Values of an AffectNet annotation in the terms of the project."""

import math
from collections.abc import Callable, Sequence

from abaw_jax.releases.annotations import quote
from abaw_jax.tasks import EXPRESSIONS

_CODES = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")


_NUM_CODES = (
    11  # then contempt, none, uncertain and no face, which we have no class for
)


_INVALID = -2


LABELS = ("valence", "arousal", "expression")


Note = Callable[[str, str], None]


def read_labels(texts: Sequence[str | None], note: Note) -> tuple[float, float, float]:
    """Valence, arousal and expression in our terms; None was noted before."""
    values = []
    for name, text in zip(LABELS, texts, strict=True):
        try:
            values.append(math.nan if text is None else _parse(name, text))
        except ValueError as error:
            kind = "number" if "not a number" in str(error) else "range"
            note(kind, f"{name} {error}; left out")
            values.append(math.nan)
    valence, arousal, expression = values
    return valence, arousal, expression


def _parse(name: str, text: str) -> float:
    """The value, NaN if it is marked as missing or has no class here."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"is {quote(text)}, not a number")
    if name != "expression":
        if value != _INVALID and not -1 <= value <= 1:
            raise ValueError(f"is {quote(text)}, outside [-1, 1]")
        return math.nan if value == _INVALID else value
    if value not in range(_NUM_CODES):
        last = _NUM_CODES - 1
        raise ValueError(f"is {quote(text)}, not a whole number from 0 to {last}")
    return EXPRESSIONS.index(_CODES[int(value)]) if value < len(_CODES) else math.nan


def is_labelled(values: tuple[float, float, float]) -> bool:
    """True with an expression, or with both valence and arousal."""
    valence, arousal, expression = map(math.isnan, values)
    return not (expression and (valence or arousal))
