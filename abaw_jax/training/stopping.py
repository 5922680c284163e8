"""Stops on a signal: SIGTERM, SIGINT (Ctrl-C) and SIGUSR1, the warning of SLURM.

Inside `watch_signals` the first signal raises `Stopped`: at once where the work can be
repeated, and where it cannot (inside `deferred`) when that block asks or ends. A second
signal ends the process.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

# Windows has no SIGUSR1.
_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


_MOMENT = 0.05  # seconds after which a callback that ignored a stop has ended


class Stopped(BaseException):
    """The run was asked to stop, and what it had done is saved.

    No `Exception`: libraries catch those where this one has to pass.

    Attributes:
      number: of the signal.
      exit_code: 128 and the number of the signal, as of shells: 143 after SIGTERM, 130
        after SIGINT, 138 after SIGUSR1 (Linux).
    """

    def __init__(self, number: int, saved: str = "") -> None:
        """Takes the signal's number and, of a training stage, what was saved."""
        name, saved = signal.Signals(number).name, saved or "what is finished is kept"
        super().__init__(f"stopped by {name}; {saved}; the same command goes on.")
        self.number, self.exit_code = number, 128 + number


class _Watch:
    """State of the process: signals act on nothing smaller."""

    requested = 0
    deferrals = 0
    again: threading.Timer | None = None


_watch = _Watch()


@contextmanager
def watch_signals() -> Iterator[None]:
    """Turns the signals into `Stopped`; former handlers come back afterwards.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch.requested = 0
    former = {number: signal.signal(number, _on_signal) for number in _SIGNALS}
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_on_unraisable, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if _watch.again is not None:
            _watch.again.cancel()
        for number, handler in former.items():
            # None is a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _watch.requested = 0


def _on_unraisable(hook: Callable[[Any], Any], unraisable: Any) -> None:
    """Raises again a `Stopped` that Python ignored.

    It ignores what a callback of the garbage collector or a finalizer raises, and these
    are often the first to run after a signal: a collection takes long.
    """
    if not isinstance(unraisable.exc_value, Stopped):
        hook(unraisable)
        return
    _watch.requested = 0
    number = unraisable.exc_value.number
    _watch.again = threading.Timer(_MOMENT, _thread.interrupt_main, (number,))
    _watch.again.start()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _watch.requested:
        os._exit(128 + number)
    _watch.requested = number
    if not _watch.deferrals:
        raise Stopped(number)
    print(
        f"abaw_jax: {signal.Signals(number).name}: saving after this round; a second "
        "signal ends at once.",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def deferred() -> Iterator[None]:
    """Holds `Stopped` back until the block ends; `requested` has the signal.

    A signal to the whole process group also ends the compiler that XLA has started for
    a GPU (ptxas): its error is the stop's, too.
    """
    _watch.deferrals += 1
    try:
        yield
    except RuntimeError as error:
        import jax  # takes a second to load: not for commands that only stop

        if not _watch.requested or not isinstance(error, jax.errors.JaxRuntimeError):
            raise
        raise Stopped(_watch.requested) from error
    finally:
        _watch.deferrals -= 1
    if _watch.requested and not _watch.deferrals:
        raise Stopped(_watch.requested)


def requested() -> int:
    """Number of the signal that asked this process to stop, 0 for none."""
    return _watch.requested
