"""How a call of a command ended, and what it said last."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
      code: its exit code, minus the number of a signal that killed it; None if it had
        to be killed because it took too long.
      shown: what it printed.
      began: when it was started, seconds since the epoch.
      seconds: that it took.
    """

    code: int | None
    shown: str
    began: float
    seconds: float

    @property
    def traceback(self) -> str:
        """The last line of a traceback in what was printed; "" if there is none."""
        _, found, after = self.shown.rpartition("Traceback (most recent call last)")
        lines = [line for line in after.splitlines()[1:] if line[:1].strip()]
        return (lines[0] if lines else "Traceback") if found else ""

    @property
    def last_line(self) -> str:
        """The sentence with which the command ended."""
        lines = [line for line in self.shown.splitlines() if line.strip()]
        return lines[-1] if lines else ""
