"""Encodes one share of the subjects' features, beside processes of other shares.

A process locks its share in the stage's folder and writes the files of its subjects as
`features` does. It reads no other files and builds no table. The run without shards
reads the files of all shares, encodes what is missing and marks the stage complete.
"""

from contextlib import nullcontext
from dataclasses import replace

from abaw_jax.experiment import extraction, feature_files, features
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.encoding import Encoded
from abaw_jax.experiment.extraction import EncodeSubject, Stage
from abaw_jax.experiment.onnx_encoder import OnnxEncoder
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.report import console
from abaw_jax.store.shares import Share, balance, writing_share


def extract(
    run: Run, share: Share, image: Encoder | OnnxEncoder | None, sound: Encoder | None
) -> None:
    """Encodes the subjects of a share that are not done yet, or damaged.

    Args:
      run: as of `features.extract`.
      share: which one, and of how many.
      image: as of `features.extract`.
      sound: as of `features.extract`.

    Raises:
      InUseError: if another process writes the share, the whole stage, or a share of
        another division; says which.
      ValueError: if no stream has an encoder, or the folder holds features that were
        made with other settings.
    """
    stages = features.stages(run, image, sound)
    if not stages:
        raise ValueError(
            "Features of every stream are given (config.features.image and .sound), so "
            "there is nothing to encode: leave out --shards and --shard."
        )
    features.require_given(run)
    chosen = subjects_of(run, share)
    title = f"shard {share.index} of {share.count}"
    console.stage_header("features", f"{title}, {len(chosen):,} subjects")
    for artefact, stage in stages.items():
        ready = artefact.begin() and not extraction.incomplete(artefact.directory)
        with nullcontext() if ready else writing_share(artefact.directory, share):
            extraction.some_subjects(
                run,
                artefact.directory,
                _guarded(stage, artefact),
                chosen,
                lambda index, found: None,
                complete=ready,
            )
    made = [feature_files.subjects_in(each.directory) for each in stages]
    left = {each.name for each in run.store.subjects} - set.intersection(*made)
    images = sum(run.store.subjects[index].num_images for index in chosen)
    others = f"{len(left):,} of other shards are left: when they are done, call"
    console.say(
        f"{title} is encoded: {len(chosen):,} subjects, {images:,} images. "
        f"{others if left else 'Call'} the same command without --shards and --shard."
    )


def _guarded(stage: Stage, artefact: Artefact) -> Stage:
    """The stage, which stops before it writes beside features of other settings.

    Processes of other shares have locks of their own: one with other settings may begin
    in the same folder before the first file is there.
    """

    def compile() -> EncodeSubject:
        encode_subject = stage.compile()

        def guarded(index: int, unreadable: ReadErrorLog) -> Encoded:
            found = encode_subject(index, unreadable)
            artefact.require_unchanged()
            return found

        return guarded

    return replace(stage, compile=compile)


def subjects_of(run: Run, share: Share) -> list[int]:
    """Numbers of the subjects of a share; shares have about as many images."""
    subjects = run.store.subjects
    # One image more: a subject without any costs a call of the encoder, too.
    weights = [1 + each.num_images for each in subjects]
    return balance([each.name for each in subjects], weights, share.count)[share.index]
