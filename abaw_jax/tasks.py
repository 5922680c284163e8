"""Names and orders of tasks, classes, annotation sets and splits.

The orders are those of the ABAW3 annotation files from 2022 on, so an index here is the
column or the class number there. Pure Python: any module may import this file.
"""

TASKS = ("va", "expr", "au")
"""The three tasks; an index is a class of the task discriminator."""

AFFECT = ("valence", "arousal")
"""Columns of ``va``, each in ``[-1, 1]``."""

EXPRESSIONS = (
    "Neutral",
    "Anger",
    "Disgust",
    "Fear",
    "Happiness",
    "Sadness",
    "Surprise",
    "Other",
)
"""Classes of ``expr``; exactly one holds in a frame."""

ACTION_UNITS = (
    "AU1",
    "AU2",
    "AU4",
    "AU6",
    "AU7",
    "AU10",
    "AU12",
    "AU15",
    "AU23",
    "AU24",
    "AU25",
    "AU26",
)
"""Columns of ``au``; any number hold in a frame. Numbers of the coding system FACS."""

SETS = (*TASKS, "mtl")
"""Annotation sets; a batch's ``task`` holds indices into this tuple.

A set of one task labels that task only. The fourth, ``mtl``, may label all three.
"""

SPLITS = ("train", "validation")
"""Parts of every annotation set; their people should be disjoint."""
