"""When the frames of a video show: at a constant rate, or at times of their own."""

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class FrameTimes:
    """Times of the frames of one video.

    Attributes:
      fps: frames a second; the mean where they vary.
      times: float64 ``[F]``, seconds from the first frame to each, ascending; empty if
        the rate is constant.
    """

    fps: float
    times: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    @property
    def constant(self) -> bool:
        """True if frame n shows ``(n - 1) / fps`` seconds after the first one."""
        return not len(self.times)

    def seconds(self, numbers: npt.ArrayLike) -> np.ndarray:
        """Seconds from the first frame to others, float64; beyond the ends by ``fps``.

        Args:
          numbers: of the frames, counted from 1, any shape.
        """
        numbers = np.asarray(numbers)
        if self.constant:
            return np.asarray((numbers - 1) / self.fps)
        inside = np.clip(numbers, 1, len(self.times))
        return np.asarray(self.times[inside - 1] + (numbers - inside) / self.fps)

    def nearest(self, seconds: npt.ArrayLike) -> np.ndarray:
        """Numbers of the frames nearest to these times, int64; of two, the earlier.

        Args:
          seconds: from the first frame, any shape; before it numbers are below 1.
        """
        seconds = np.asarray(seconds, np.float64)
        if self.constant:
            return np.round(seconds * self.fps).astype(np.int64) + 1
        last = len(self.times)
        after = np.searchsorted(self.times, seconds).clip(1, last - 1)
        earlier = seconds - self.times[after - 1] <= self.times[after] - seconds
        beyond = seconds - np.clip(seconds, 0, self.times[-1])
        inside = np.where(earlier, after, after + 1)
        return inside + np.round(beyond * self.fps).astype(np.int64)


def from_time_stamps(seconds: np.ndarray, fps: float) -> FrameTimes:
    """Frame times from the time stamps of a file.

    Args:
      seconds: of every frame that is shown, in any order; empty if unknown.
      fps: the constant rate, or the mean.

    Returns:
      Times of their own only where one is off by more than half a frame: the clocks of
      containers are coarse.
    """
    if len(seconds) < 2:
        return FrameTimes(fps)
    times = np.sort(seconds) - seconds.min()
    off = np.abs(times - np.arange(len(times)) / fps)
    return FrameTimes(fps, times) if off.max() > 0.5 / fps else FrameTimes(fps)
