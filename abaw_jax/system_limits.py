"""Tells what the system refused a process, and what to do: memory, files, rights.

What could not be read for such a reason is not damaged. Libraries raise bare errors
around the system's, or quote its words alone.
"""

import errno
import os

_GO_ON = "nothing that was saved is lost; {}, and the same command goes on"
_FILES = _GO_ON.format("let this process open more files (ulimit -n)")
_MEMORY = _GO_ON.format("give this process more memory (ulimit -v, or its job's)")
_RIGHTS = _GO_ON.format("let this user read and write that")
_READ_ONLY = _GO_ON.format("mount that so that it can be written")
_DISK = _GO_ON.format("free some space on the disk that it writes to")

_ADVICE = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _DISK,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _READ_ONLY,
}
_QUOTED = {os.strerror(number): advice for number, advice in _ADVICE.items()} | {
    "RESOURCE_EXHAUSTED": _MEMORY,  # of XLA
    "can't start new thread": _MEMORY,  # of Python
}


def advice_on(error: BaseException | None) -> str | None:
    """What to do if the system's refusal is behind an error, without a full stop."""
    while error is not None:
        if isinstance(error, MemoryError):
            return _MEMORY
        if (number := getattr(error, "errno", None)) in _ADVICE:
            return _ADVICE[number]
        for words, advice in _QUOTED.items():
            if words in str(error):
                return advice
        error = error.__cause__ or error.__context__
    return None


def in_a_sentence(error: BaseException, advice: str) -> str:
    """The first line of what an error says, and the advice."""
    said = (str(error).splitlines() or [""])[0].rstrip(".:")
    return f"{said or type(error).__name__}: {advice}."
