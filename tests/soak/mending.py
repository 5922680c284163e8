"""Does what the sentence of a refused run says, as its reader would."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.soak import small_run
from tests.soak.command_process import CommandProcess, prepare_release
from tests.soak.ended_call import Ended

_FILE = r"(/[^\s:;,]+|[\w./-]+\.(?:npy|json))"


def follow(
    sentence: str, folder: Path, reference: Path, output: Path
) -> tuple[str, Ended | None]:
    """Follows the advice of a sentence.

    Args:
      sentence: with which the command ended.
      folder: of the round.
      reference: a copy of it from before the disturbance.
      output: file for what the command that packs prints.

    Returns:
      What was done, "" if the sentence says nothing that can be done; and how the
      command that packs ended, if it was called.
    """
    if "files of the release were" in sentence:
        return _restore(folder / "release", reference / "release"), None
    if found := re.search(r"(/\S+\.jsonl), line (\d+) is no JSON", sentence):
        return _delete_line(Path(found[1]), int(found[2])), None
    deleted = [_delete(path) for path in _to_delete(sentence, folder)]
    if "run abaw_jax.prepare again" in sentence:
        process = CommandProcess(
            small_run.arguments_of_prepare(folder), output, command=prepare_release
        )
        return ", ".join([*deleted, "prepared again"]), process.wait(120)
    if not deleted and "the same command" in sentence:
        return "called again", None
    return ", ".join(deleted), None


def _to_delete(sentence: str, folder: Path) -> Iterator[Path]:
    """The paths that a sentence says to delete, of those that are there."""
    if "delete what is named" in sentence or "delete that file" in sentence:
        store = folder / "run" / "corpus" / "store"
        named = sentence.partition("is damaged:")[2].partition(";")[0]
        candidates = [store / name for name in re.findall(_FILE, named)]
    elif "delete it" in sentence:
        candidates = [Path(name) for name in re.findall(_FILE, sentence)[:1]]
    else:
        candidates = [
            Path(name.rstrip("."))
            for name in re.findall(r"[Dd]elete (/[^\s:;,]+)", sentence)
        ]
    for path in candidates:
        if path.is_relative_to(folder) and path.exists():
            yield path


def _delete(path: Path) -> str:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return f"deleted {path.name}"


def _delete_line(path: Path, number: int) -> str:
    lines = path.read_bytes().split(b"\n")
    del lines[number - 1]
    path.write_bytes(b"\n".join(lines))
    return f"deleted line {number} of {path.name}"


def _restore(target: Path, source: Path) -> str:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return "put the release back"
