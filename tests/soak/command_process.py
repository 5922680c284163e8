"""Calls the commands in processes of their own, forked from this one.

What they load takes seconds and is loaded once, here; no call shares anything else.
This process must not use a device of JAX.
"""

import atexit
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from abaw_jax.experiment import sequence  # noqa: F401  see above
from tests.soak.ended_call import Ended

_FORK = multiprocessing.get_context("fork")

Command = Callable[[Sequence[str]], None]


# Each is loaded in the process that runs it: their flags have names in common.
def train(arguments: Sequence[str]) -> None:
    """The training command."""
    from abaw_jax import main

    main.run(arguments)


def prepare_release(arguments: Sequence[str]) -> None:
    """The command that packs a release."""
    from abaw_jax import prepare

    prepare.run(arguments)


Hook = Callable[[], None]
"""Called in the new process before the command, as to limit what it may use."""


class CommandProcess:
    """A command that runs beside this process; `wait` for it once it was started."""

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        hook: Hook = lambda: None,
        command: Command = train,
    ) -> None:
        """Starts it.

        Args:
          arguments: of the command.
          output: file for what it prints.
          hook: see `Hook`.
          command: which one.
        """
        self._output, self._began = output, time.time()
        self._process = _FORK.Process(
            target=_run, args=(command, arguments, output, hook)
        )
        self._process.start()

    def send(self, number: int) -> bool:
        """Sends a signal; False if the command has ended."""
        if not self._process.is_alive():
            return False
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        return True

    def running(self) -> bool:
        """True until it has ended."""
        return self._process.is_alive()

    def wait(self, seconds: float) -> Ended:
        """Waits for the end, but not longer than so many seconds from now."""
        self._process.join(seconds)
        late = self._process.is_alive()
        if late:
            self._process.kill()
            self._process.join()
        shown = (
            self._output.read_text(errors="replace") if self._output.exists() else ""
        )
        code = None if late else self._process.exitcode
        return Ended(code, shown, self._began, time.time() - self._began)


def computed(write: Callable[[Path, Path], None], run: Path, target: Path) -> Any:
    """What a function writes of a run as JSON, in a process that may use a device.

    Raises:
      RuntimeError: if it fails.
    """
    process = _FORK.Process(target=write, args=(run, target))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{write.__name__} ended with {process.exitcode}")
    return json.loads(target.read_text())


def _run(command: Command, arguments: Sequence[str], output: Path, hook: Hook) -> None:
    """The command as the interpreter would run it, in the forked process."""
    with output.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    hook()
    try:
        command(["abaw_jax", *arguments])
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        sys.stdout.flush()
