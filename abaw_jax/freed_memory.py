"""Gives memory that was freed back to the system."""

import ctypes


def release_freed_memory() -> None:
    """Shrinks the heap to what is in use; does nothing where the system has no glibc.

    Compilation takes hundreds of MB for a moment, which glibc keeps for later.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
