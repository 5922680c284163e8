"""What the system refuses is told with what to do, and is no damage."""

import errno
import os
import subprocess
import sys

import pytest

from abaw_jax import command_line
from abaw_jax.system_limits import advice_on, in_a_sentence


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "ulimit -n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "space on the disk"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "can be written"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/a/b"), "this user"),
        (ValueError("reading /a/b [OS error 24: EMFILE Too many open files]"), "files"),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand more"), "ulimit -v"),
        (RuntimeError("can't start new thread"), "memory"),
        (MemoryError(), "memory"),
    ],
)
def test_what_was_refused_is_told_in_one_sentence(error, named):
    around = RuntimeError("of a library")
    around.__cause__ = error
    for each in (error, around):
        assert named in (advice_on(each) or "")
    sentence = in_a_sentence(error, advice_on(error))
    assert sentence.endswith("and the same command goes on.")
    assert "\n" not in sentence and ":." not in sentence


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "No such file"), ValueError("truncated"), None]
)
def test_damage_is_not_refused(error):
    assert advice_on(error) is None


def test_a_command_ends_although_a_thread_waits(tmp_path):
    """In one sentence, with the system's refusal and what to do."""
    program = """
import errno, os, sys, threading
from abaw_jax import command_line
command_line._PATIENCE = 0.1
def main(argv):
    threading.Thread(target=threading.Event().wait, args=(60,)).start()
    try:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    except OSError as error:
        sys.exit(f"command: {error}")
command_line.run(main, ["command"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"command: {os.strerror(errno.EMFILE)}: nothing ")
    assert "(ulimit -n), and" in sentence


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        ("open('gone')", "gone cannot be read or written: No such file or directory"),
        (
            "raise PermissionError(13, 'Permission denied', 'a')",
            "a cannot be read or written: Permission denied: nothing that was saved is "
            "lost; let this user read and write that, and the same command goes on.",
        ),
        (
            "raise OSError('a cannot be written.') from OSError(28, 'No space')",
            "a cannot be written: nothing that was saved is lost; free some space on "
            "the disk that it writes to, and the same command goes on.",
        ),
        ("raise OSError('The disk is full.')", "The disk is full."),
    ],
)
def test_a_command_says_what_the_system_refused_without_its_number(raised, shown):
    def main(argv):
        try:
            exec(raised)
        except OSError as error:
            sys.exit(f"command: {error}")

    with pytest.raises(SystemExit) as caught:
        command_line.run(main, ["command"])
    assert str(caught.value) == f"command: {shown}"
