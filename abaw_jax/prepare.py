"""Packs a release, AffectNet or your own videos into a store, or checks it.

python -m abaw_jax.prepare --release=DIR --store=DIR    packs; continues if repeated
python -m abaw_jax.prepare --release=DIR --check        reads and reports, packs nothing
python -m abaw_jax.prepare --affectnet=DIR ...          the same with AffectNet
python -m abaw_jax.prepare --store=DIR --check          compares with the checksums
python -m abaw_jax.prepare --videos=DIR --table=FILE.csv --faces=detect --store=DIR

On many machines that see the same files, in any order, several at the same time:
python -m abaw_jax.prepare --release=DIR --store=DIR --shards=N --shard=I    I: 0 to N-1
python -m abaw_jax.prepare --release=DIR --store=DIR --merge                 at the end

The table has the columns video, frame (from 1) or time (seconds), any of valence,
arousal, expression, AU01 to AU26, and split (train, validation). --faces is as of
abaw_jax.predict; the crops are kept in the store's folder crops.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import app, flags

from abaw_jax import command_line
from abaw_jax.faces.crop_folders import CropRule
from abaw_jax.faces.own_videos import open_videos
from abaw_jax.releases.affectnet import open_affectnet
from abaw_jax.releases.findings import Anomaly, Findings, Report, report_bytes
from abaw_jax.releases.labels import Source, open_release
from abaw_jax.report import console
from abaw_jax.report.release_report import write_page
from abaw_jax.store import reader, writer
from abaw_jax.store.ray_engine import open_ray
from abaw_jax.store.shares import MAX_SHARES, Share
from abaw_jax.store.writer import merge, prepare, prepare_share
from abaw_jax.training.stopping import Stopped, watch_signals

__all__ = ["main", "prepare"]

_RELEASE = command_line.define_folder("release", "Folder of the release.")
_AFFECTNET = command_line.define_folder("affectnet", "Or folder of AffectNet.")
_VIDEOS = command_line.define_folder("videos", "Or folder of your own videos.")
_TABLE = command_line.define_file("table", "With --videos: CSV file with labels.")
_FACES = flags.DEFINE_string(
    "faces", None, "With --videos: detect, whole, or a folder with boxes or crops."
)
_DETECTOR = command_line.define_file(
    "detector", "With --faces=detect: YuNet (.onnx) of your own."
)
_STORE = command_line.define_folder("store", "Folder of the store.")
_CHECK = flags.DEFINE_bool("check", False, "Only read and report.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 112, "Side of stored crops, pixels.")
_IMAGES = flags.DEFINE_enum(
    "images",
    "pixels",
    ["pixels", "jpeg"],
    "How crops are stored: decoded, or in an eighth of the space and decoded at use.",
)
_OVERLAP = flags.DEFINE_enum(
    "overlap",
    "remove",
    ["remove", "keep"],
    "Training subjects whose video is in a validation set: remove or keep them.",
)
_WORKERS = flags.DEFINE_integer("workers", None, "Threads; default one a processor.")
_SHARDS = flags.DEFINE_integer(
    "shards",
    None,
    "Pack a release in so many shares.",
    lower_bound=1,
    upper_bound=MAX_SHARES,
)
_SHARD = flags.DEFINE_integer(
    "shard", None, "With --shards=N: the share to pack here, 0 to N-1.", lower_bound=0
)
_MERGE = flags.DEFINE_bool("merge", False, "Finish a store whose shares are packed.")
_ENGINE = flags.DEFINE_enum(
    "engine", "threads", ["threads", "ray"], "What packs: threads, or a Ray cluster."
)
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address",
    None,
    "With --engine=ray: auto, or HOST:PORT of a cluster; default RAY_ADDRESS, else one "
    "is started on this machine.",
)
_JSON = command_line.define_file("json", "File for all findings.")
_SHOWN = 20


def main(argv: Sequence[str]) -> None:
    """Does what the flags ask for."""
    command_line.refuse_arguments(argv)
    try:
        share = _share()
        _refuse_unused(share)
        with watch_signals():
            if _VIDEOS.value is not None:
                _prepare_videos(_VIDEOS.value)
            else:
                _run(_RELEASE.value or _AFFECTNET.value, _STORE.value, share)
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.prepare: {error}")
    except Stopped as stop:
        print(f"abaw_jax.prepare: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


def _share() -> Share | None:
    """The share to pack; None if it is all of them."""
    index, count = _SHARD.value, _SHARDS.value
    divided = index is not None or count is not None or _MERGE.value
    if divided and (_VIDEOS.value or _CHECK.value):
        raise ValueError(
            "--shards, --shard and --merge go with --release or --affectnet and a "
            "store; --videos cuts faces while it reads, on one machine."
        )
    if _ENGINE.value == "ray" and (divided or _CHECK.value or _VIDEOS.value):
        raise ValueError(
            "--engine=ray goes with --release or --affectnet and a store, without "
            "--shards, --merge and --check."
        )
    if index is None and (count is None or _MERGE.value):
        return None
    if index is None or count is None or index >= count or _MERGE.value:
        raise ValueError(
            "Name --shards=N with --shard=I, from 0 to N-1, and --merge when all are "
            "packed."
        )
    return Share(index, count)


def _refuse_unused(share: Share | None) -> None:
    """Refuses flags that would change nothing."""
    whole = share is None and bool(_RELEASE.value or _AFFECTNET.value or _VIDEOS.value)
    for names, used, needed in (
        (("ray_address",), _ENGINE.value == "ray", "--engine=ray"),
        (("table", "faces", "detector"), _VIDEOS.value is not None, "--videos"),
        (("json", "overlap"), whole, "a whole release, for shards with their --merge"),
    ):
        for name in names:
            if flags.FLAGS[name].present and not used:
                raise ValueError(f"--{name} goes with {needed}.")


def _run(release: Path | None, path: Path | None, share: Share | None) -> None:
    if _RELEASE.value and _AFFECTNET.value:
        raise ValueError("Name one of --release=DIR and --affectnet=DIR.")
    options: dict[str, Any] = {
        "read": open_affectnet if _AFFECTNET.value else open_release,
        "image_size": _IMAGE_SIZE.value,
        "overlap": _OVERLAP.value,
        "workers": _WORKERS.value,
    }
    if _AFFECTNET.value:
        console.say(
            "reading all labels first: a minute or so for the whole of AffectNet"
        )
    packed = {**options, "images": _IMAGES.value}
    if release and path and share is not None:
        _pack_share(release, path, share, packed)
    elif release and path and not _CHECK.value:
        _pack(release, path, **packed)
    elif _CHECK.value and (release or path):
        if release:
            with console.progress("crops", 0) as progress:
                report = writer.inspect(release, progress=progress, **options)
            _show(report, "name --json=FILE to keep them")
        if path:
            reader.check(path)
            console.say(f"every file of {path} is as it was written")
    else:
        raise app.UsageError(
            "Name both, --release=DIR (or --affectnet=DIR) and --store=DIR."
        )


def _prepare_videos(videos: Path) -> None:
    table, path, faces = _TABLE.value, _STORE.value, _FACES.value
    if table is None or path is None or not faces:
        raise ValueError("With --videos=DIR name --table, --faces and --store.")
    if _CHECK.value or _RELEASE.value or _AFFECTNET.value:
        raise ValueError("--videos goes with --table, --faces and --store only.")
    options = {"image_size": _IMAGE_SIZE.value, "images": _IMAGES.value}
    options |= {"overlap": _OVERLAP.value, "workers": _WORKERS.value}

    def read(root: Path, findings: Findings) -> Source:
        rule = CropRule(faces, _IMAGE_SIZE.value, _DETECTOR.value)
        with console.progress("faces", 0) as progress:
            return open_videos(
                root,
                findings,
                table=table,
                rule=rule,
                crops=path / "crops",
                progress=progress,
                workers=_WORKERS.value,
            )

    _pack(videos, path, read=read, **options)


def _pack(release: Path, path: Path, **options: Any) -> None:
    root, store = release, path
    if _ENGINE.value == "ray":
        # Of other machines and processes the current folder may be another.
        root, store = release.absolute(), path.absolute()
        address = _RAY_ADDRESS.value or os.environ.get("RAY_ADDRESS")
        options["open_engine"] = partial(
            open_ray, address, options["workers"], console.warn
        )
    if _MERGE.value:
        finish = partial(merge, shares=_SHARDS.value)
    else:
        finish = prepare
    with console.progress("crops", 0) as progress:
        report = finish(root, store, progress=progress, **options)
    page = write_page(path, report, str(release))
    _show(report, f"all in {path}/report.json")
    console.say(f"with counts, labels and faces: {page}")


def _pack_share(
    release: Path, path: Path, share: Share, options: dict[str, Any]
) -> None:
    del options["overlap"]  # of labels, which the merge joins
    with console.progress("crops", 0) as progress:
        packed = prepare_share(release, path, share, progress=progress, **options)
    crops = sum(map(len, packed.numbers.values()))
    console.say(
        f"shard {share.index} of {share.count} is packed: {len(packed.sounds):,} "
        f"videos, {crops:,} crops; --merge finishes the store when all are"
    )


def _show(report: Report, where: str) -> None:
    """Shows a summary of the anomalies and writes all of them to --json."""
    if _JSON.value is not None:
        _JSON.value.write_bytes(report_bytes(report))
        where = f"all in {_JSON.value}"
    for line in report.summary().splitlines():
        console.say(line)
    grouped: dict[tuple[str, str], list[Anomaly]] = {}
    for anomaly in report.anomalies:
        grouped.setdefault((anomaly.kind, anomaly.file), []).append(anomaly)
    for first, *others in list(grouped.values())[:_SHOWN]:
        more = f" (and {len(others):,} more of this kind)" if others else ""
        console.say(f"  {first}{more}")
    if len(grouped) > _SHOWN:
        console.say(f"  and {len(grouped) - _SHOWN:,} more files or kinds: {where}")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
