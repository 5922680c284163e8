"""Reads text files of others line by line, in bounded memory whatever they hold."""

import codecs
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

MAX_LINES = 5_000_000
"""A longer file is refused: a list of every frame of Aff-Wild2 has 2.7 million."""

MAX_LINE = 65_536
"""Characters of the longest line that is read; a label takes less than a hundred."""


class TextLimitError(ValueError):
    """A text file that goes beyond a limit; the message says which."""


def bounded_lines(file: TextIO) -> Iterator[str]:
    """Yields the lines of an open file, with their ends.

    Raises:
      TextLimitError: at the first line beyond a limit.
    """
    for number in itertools.count(1):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        if number > MAX_LINES:
            raise TextLimitError(f"has more than {MAX_LINES:,} lines")
        if len(line) > MAX_LINE:
            text = f"has more than {MAX_LINE:,} characters in line {number}"
            raise TextLimitError(text)
        yield line


def open_text(path: Path) -> tuple[TextIO, bool]:
    """Opens a text file of any encoding and line end, once no limit forbids it.

    Numbers and separators are ASCII, so labels survive any 8-bit encoding: what is
    neither UTF-8 nor UTF-16 is read as Latin-1. Carriage returns end lines only where
    there is no line feed.

    Returns:
      The file, and whether its encoding is known.

    Raises:
      OSError: if it cannot be read.
      TextLimitError: if it is too long or has too long a line.
    """
    with path.open("rb") as raw:
        bom = raw.read(2)
        rest = iter(lambda: raw.read(MAX_LINE), b"")
        end = "\n" if b"\n" in bom or any(b"\n" in part for part in rest) else "\r"
    utf16 = bom in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    for encoding in ("utf-16" if utf16 else "utf-8-sig", "latin-1"):
        try:
            with path.open(encoding=encoding, newline=end) as file:
                for _ in bounded_lines(file):
                    pass
        except UnicodeDecodeError:
            continue
        break
    return path.open(encoding=encoding, newline=end), encoding != "latin-1"
