"""A lock on a folder that one process writes: a lease in a file, `.writer.json`.

The file is created exclusively, which is atomic on network disks too, and says who
writes. Its owner renews the time of the file; that of a process that is known to be
dead, or that was not renewed for `LEASE_SECONDS`, is taken over.
"""

import json
import os
import platform
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

LOCK = ".writer.json"
LEASE_SECONDS = 180.0
RENEWAL_SECONDS = 20.0


class InUseError(ValueError):
    """Another process writes to the folder."""


@dataclass(frozen=True)
class _Owner:
    """The process that holds a lock.

    Attributes:
      host: its name, for people.
      pid: of the process.
      since: when it began, UTC.
      machine: identifies the running system and, in containers, its process numbers.
      started: distinguishes the process from a later one of the same number.
      token: of this very lock.
    """

    host: str
    pid: int
    since: str
    machine: str
    started: str
    token: str

    def is_dead(self) -> bool:
        """True if the process is known to have ended; those elsewhere are not."""
        # Windows' os.kill(pid, 0) is no question, but Ctrl-C.
        if self.machine != _machine() or sys.platform == "win32":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # of another user
            pass
        return _started(self.pid) != self.started


@contextmanager
def sole_writer(
    folder: Path, on_lost: Callable[[Path], None] | None = None
) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made if needed.

    A folder that was made for the lock alone goes with it.

    Args:
      folder: that only this process may write to.
      on_lost: called from another thread if the lock was taken over, as after a laptop
        slept for longer than the lease; by default it ends the process at once, since
        two would write.

    Raises:
      InUseError: if another process holds the lock; says which.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path, me = folder / LOCK, _this_process()
    _acquire(path, me)
    done = threading.Event()
    renewal = threading.Thread(
        target=_renew, args=(path, me, done, on_lost or _end), daemon=True
    )
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        if _read(path) == me:
            path.unlink(missing_ok=True)
        for each in made:
            with suppress(OSError):  # it is not empty
                each.rmdir()


def is_locked(folder: Path) -> bool:
    """True if a folder has a lock, be it of a process that has ended."""
    return (folder / LOCK).exists()


def refuse_if_locked(folder: Path) -> None:
    """Refuses a folder that another process writes, without a lock of one's own.

    Raises:
      InUseError: if another process holds the lock; says which.
    """
    path = folder / LOCK
    owner = _read(path)
    if is_locked(folder) and not _is_stale(path, owner, _this_process()):
        raise InUseError(_in_use(path, owner))


def _this_process() -> _Owner:
    return _Owner(
        host=platform.node(),
        pid=os.getpid(),
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        machine=_machine(),
        started=_started(os.getpid()),
        token=uuid.uuid4().hex,
    )


def _acquire(path: Path, me: _Owner) -> None:
    while not _create(path, me):
        owner = _read(path)
        if not _is_stale(path, owner, me):
            raise InUseError(_in_use(path, owner))
        # Of several processes that take it over one can rename it.
        aside = path.with_name(f"{path.name}.{me.token}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            continue
        if _read(aside) != owner:
            aside.rename(path)  # another was faster, and this is its lock
        aside.unlink(missing_ok=True)


def _create(path: Path, me: _Owner) -> bool:
    try:
        with path.open("x") as file:
            json.dump(asdict(me), file)
    except FileExistsError:
        return False
    except OSError:  # a full disk: an empty lock would keep others out
        path.unlink(missing_ok=True)
        raise
    return True


def _read(path: Path) -> _Owner | None:
    """The owner, or ``None`` if there is no lock or it is still being written."""
    try:
        return _Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_stale(path: Path, owner: _Owner | None, me: _Owner) -> bool:
    if owner is not None and owner.is_dead():
        return True
    probe = path.with_name(f"{path.name}.{me.token}")
    try:
        # Both times come from one clock, on a network disk that of its server.
        probe.touch()
        age = probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # released in this moment
        return True
    finally:
        probe.unlink(missing_ok=True)
    # A time to come is that of a clock that was set back since the last renewal.
    return abs(age) > LEASE_SECONDS


def _in_use(path: Path, owner: _Owner | None) -> str:
    who = "another process"
    if owner is not None:
        who = f"process {owner.pid} on {owner.host}, since {owner.since}"
    return (
        f"{path.parent} is in use by {who}: wait until it ends, stop it, or choose "
        f"another folder. (If it is gone, this lock ends {LEASE_SECONDS / 60:.0f} "
        "minutes after it.)"
    )


def _renew(
    path: Path, me: _Owner, done: threading.Event, on_lost: Callable[[Path], None]
) -> None:
    while not done.wait(RENEWAL_SECONDS):
        owner = _read(path)
        if owner not in (me, None):
            on_lost(path.parent)
            return
        try:
            os.utime(path) if owner else _create(path, me)
        except OSError:  # a network disk that is away for a moment
            continue


def _end(folder: Path) -> None:
    print(
        f"abaw_jax: another process has taken {folder} over, since this one did not "
        "answer for minutes; it ends here, and writes nothing more.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def _machine() -> str:
    """Boot and process namespace where the system has them, else the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """Start of a process in ticks since boot; "" if there is none or it is unknown."""
    try:
        # The name of the program, in brackets, may hold spaces.
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] == "Z" else facts[19]  # a zombie writes nothing
