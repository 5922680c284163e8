"""Enables JAX's persistent compilation cache."""

import os
import stat
import tempfile
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless another is set.

    A user without a home folder, as in containers, has one below the temporary folder.
    A cached program is executed, so only the user may write to the folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = _own_folder() / "programs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _own_folder() -> Path:
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home, "abaw_jax")
    try:
        return Path.home() / ".cache" / "abaw_jax"
    except RuntimeError:  # no HOME, and the user id has no name
        return _temporary_folder()


def _temporary_folder() -> Path:
    """The user's own folder below the temporary folder, where all may write.

    Raises:
      PermissionError: if somebody else made it, or may write to it.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir(), f"abaw_jax-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == user
    if not own or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder
