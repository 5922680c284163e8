"""Follows faces from frame to frame by the overlap of their boxes."""

from abaw_jax.releases.images import Box

# A face keeps its number while its box overlaps the last one by this share, and comes
# back within so many frames.
_SAME_FACE, _FORGOTTEN = 0.3, 30


class FaceTracker:
    """Numbers faces so that a person keeps the number from frame to frame."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, Box]] = {}
        self._next = 0

    def number(self, frame: int, boxes: list[Box]) -> list[int]:
        """The number of each box of a frame; best overlaps are matched first."""
        self._last = {
            face: (seen, box)
            for face, (seen, box) in self._last.items()
            if frame - seen <= _FORGOTTEN
        }
        pairs = sorted(
            (
                (overlap(box, last), index, face)
                for index, box in enumerate(boxes)
                for face, (_, last) in self._last.items()
            ),
            reverse=True,
        )
        numbers: dict[int, int] = {}
        for share, index, face in pairs:
            if (
                share >= _SAME_FACE
                and index not in numbers
                and face not in {*numbers.values()}
            ):
                numbers[index] = face
        for index in range(len(boxes)):
            if index not in numbers:
                numbers[index] = self._next
                self._next += 1
            self._last[numbers[index]] = (frame, boxes[index])
        return [numbers[index] for index in range(len(boxes))]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    both = shared_area(one, other)
    union = one.width * one.height + other.width * other.height - both
    return both / union if union > 0 else 0.0


def shared_area(one: Box, other: Box) -> float:
    """Area of what two boxes have in common, in square pixels."""
    width = min(one.left + one.width, other.left + other.width) - max(
        one.left, other.left
    )
    height = min(one.top + one.height, other.top + other.height) - max(
        one.top, other.top
    )
    return max(width, 0.0) * max(height, 0.0)
