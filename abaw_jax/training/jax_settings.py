"""Sets JAX up for the commands: exact products, and a cache of compiled programs."""

import glob
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

_PRECISION = "jax_default_matmul_precision"
_CACHE_FAULT = re.compile(
    "Error (read|writ)ing persistent compilation cache entry for '(?P<program>.*?)'"
)


def matmul_precision() -> str | None:
    """Precision of float32 products; None is the device's own."""
    return getattr(jax.config, _PRECISION)


def set_up_jax(*, for_accelerators: bool = False) -> None:
    """Makes float32 mean float32, and enables the compilation cache.

    It looks at the devices, after processes have joined. GPUs would multiply float32
    in TF32, of 10 bits, and TPUs in bfloat16, of 7. Where that is enough, bfloat16 is
    faster. ``JAX_DEFAULT_MATMUL_PRECISION`` has precedence.

    Args:
      for_accelerators: programs are compiled for devices that are not here, and none
        is looked at: JAX's CUDA plugin would find no driver and be left out.
    """
    # On a CPU float32 is exact, and predict takes 6 % longer with that setting.
    if matmul_precision() is None and (
        for_accelerators or jax.default_backend() != "cpu"
    ):
        jax.config.update(_PRECISION, "highest")
    _enable_compilation_cache()


def _enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless another is set.

    Cached programs are executed. A folder is therefore used only if the user owns it
    and other users have no right to write to it. The first choice is the user's cache
    folder, the second, as for containers without a home, the temporary folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    for folder in _candidates():
        programs = folder / "programs"
        if _make_private(folder) and _make_private(programs):
            jax.config.update("jax_compilation_cache_dir", str(programs))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
            _remove_damaged(programs)
            return


def _remove_damaged(programs: Path) -> None:
    """Removes cached programs that JAX warns it cannot read or write.

    A full disk truncates the file of a program. JAX never replaces a file, and would
    warn and compile in every later process. Its warning has the name of the program
    without the digest, so all files of that name are removed.
    """
    show = warnings.showwarning

    def remove(message: Warning | str, *where: Any, **more: Any) -> None:
        fault = _CACHE_FAULT.match(str(message))
        if fault is None:
            show(message, *where, **more)
            return
        for each in programs.glob(f"{glob.escape(fault['program'])}-*-cache"):
            with suppress(OSError):
                each.unlink()

    warnings.showwarning = remove


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("XDG_CACHE_HOME"):
        yield Path(home, "abaw_jax")
    else:
        try:
            yield Path.home() / ".cache" / "abaw_jax"
        except RuntimeError:  # no HOME, and the user id has no name
            pass
    if hasattr(os, "getuid"):  # on Windows the temporary folder is the user's own
        yield Path(tempfile.gettempdir(), f"abaw_jax-{os.getuid()}")


def _make_private(folder: Path) -> bool:
    """Makes a folder that only the user may enter; False if it cannot be his alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()  # a link may be somebody else's
        ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if not stat.S_ISDIR(found.st_mode) or not ours or found.st_mode & 0o002:
            return False  # whoever could write to it may have
        folder.chmod(0o700)
    except OSError:
        return False
    return True
