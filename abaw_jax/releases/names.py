"""Compares names of files and subjects, and makes any text safe to show.

macOS decomposes an accented letter into two characters (NFD) when it names a file, text
files have it as one (NFC). Subjects and videos are named by the latter everywhere.
"""

import unicodedata
from pathlib import Path


def normal_name(name: str) -> str:
    """The name with composed accents (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)


def printable(text: str) -> str:
    r"""The text on one line, with line ends and terminal codes as ``\n`` and ``\x1b``.

    Names of files may hold either, and bytes that are no UTF-8 (``\udcff``), which no
    stream takes.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


def find_file(folder: Path, name: str) -> Path:
    """The entry of a folder with this name; ``folder / name`` if there is none."""
    path = folder / name
    if path.exists() or name.isascii() or not folder.is_dir():
        return path
    wanted = normal_name(name)
    return next((p for p in folder.iterdir() if normal_name(p.name) == wanted), path)
