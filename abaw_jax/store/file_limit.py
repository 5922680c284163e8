"""Limits of the system on open files, of which a store has two for every subject."""

import contextlib

_MANY = 8192


def raise_descriptor_limit() -> None:
    """Lets this process map more files, as far as the system lets everyone.

    A mapped file holds a descriptor, and 564 subjects with their sound need more than
    the usual limit of 1024. For programs to call; a library leaves the limit alone.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def mapped_files() -> int:
    """Files to keep mapped: half of what the process may open."""
    try:
        import resource
    except ImportError:
        return _MANY // 2
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    return _MANY // 2 if unlimited else max(16, min(_MANY, soft) // 2)
