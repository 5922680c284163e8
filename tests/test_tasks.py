"""The names against the headers of the ABAW3 annotation files."""

from abaw_jax import tasks


def test_expressions_follow_the_annotation_header():
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    assert ",".join(tasks.EXPRESSIONS) == header


def test_action_units_follow_the_annotation_header():
    header = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
    assert ",".join(tasks.ACTION_UNITS) == header


def test_affect_follows_the_annotation_header():
    assert ",".join(tasks.AFFECT) == "valence,arousal"


def test_sets_number_the_single_tasks_as_the_discriminator_does():
    assert tasks.TASKS == ("va", "expr", "au")
    assert tasks.SETS == ("va", "expr", "au", "mtl")
    assert tasks.SPLITS == ("train", "validation")
