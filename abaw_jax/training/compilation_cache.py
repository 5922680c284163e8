"""Enables JAX's persistent compilation cache."""

import os
import tempfile
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless another is set.

    A cached program is executed, so a folder is used only if it is the user's own and
    nobody else may enter it; else, and without a home, one below the temporary folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    user = os.getuid() if hasattr(os, "getuid") else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folders = [Path(home, "abaw_jax"), Path(tempfile.gettempdir(), f"abaw_jax-{user}")]
    for folder in folders[0 if os.path.isabs(home) else 1 :]:  # "~" without a home
        programs = folder / "programs"
        if _make_private(folder, user) and _make_private(programs, user):
            jax.config.update("jax_compilation_cache_dir", str(programs))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
            return


def _make_private(folder: Path, user: int | None) -> bool:
    """Makes a folder that only the user may enter; False if it cannot be his alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if user is None:  # Windows, where folders of a user are his own
            return True
        if {folder.lstat().st_uid, folder.stat().st_uid} != {user}:
            return False  # of somebody else, or a link that he made
        folder.chmod(0o700)
    except OSError:
        return False
    return True
