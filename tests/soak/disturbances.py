"""What is done to a run: each function disturbs it and returns how its call ended."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tests.soak import file_damage
from tests.soak.command_process import CommandProcess, Hook
from tests.soak.ended_call import Ended
from tests.soak.small_run import TRAINED


@dataclass
class Scene:
    """A run that is disturbed.

    Attributes:
      folder: holds ``release`` and ``run``.
      arguments: of the command.
      output: folder for what the calls print.
      rng: of this round.
      seconds: that an undisturbed call would take from here.
      limit: seconds after which a call is taken to hang.
      done: what was done, in words.
      damaged: files that were damaged.
      ended: the calls that were disturbed.
    """

    folder: Path
    arguments: list[str]
    output: Path
    rng: np.random.Generator
    seconds: float
    limit: float
    done: list[str] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The workdir."""
        return self.folder / "run"

    def start(self, hook: Hook = lambda: None) -> CommandProcess:
        """Starts a call of the command."""
        name = f"disturbed{len(list(self.output.glob('disturbed*')))}.txt"
        return CommandProcess(self.arguments, self.output / name, hook)

    def finish(self, process: CommandProcess) -> Ended:
        """Waits for a call and notes how it ended."""
        self.ended.append(process.wait(self.limit))
        return self.ended[-1]

    def some_time(self) -> float:
        """A moment within the call, in seconds from its start."""
        return float(self.rng.uniform(0, self.seconds))


Disturb = Callable[[Scene], None]


def kill(scene: Scene) -> None:
    """SIGKILL at any time."""
    _signal(scene, signal.SIGKILL)


def kill_in_save(scene: Scene) -> None:
    """SIGKILL while a checkpoint or a network is written."""
    process, wanted, last = scene.start(), int(scene.rng.integers(1, 9)), None
    delay = float(scene.rng.uniform(0, 0.05))
    while process.running() and wanted:
        found = _being_saved(scene.run)
        if found is not None and found != last:
            last, wanted = found, wanted - 1
        time.sleep(0.002)
    time.sleep(delay)
    process.send(signal.SIGKILL)
    where = last.relative_to(scene.run) if last and not wanted else "nothing"
    scene.done.append(f"SIGKILL while {where} was written")
    scene.finish(process)


def _being_saved(run: Path) -> Path | None:
    """The temporary folder of a checkpoint or a network, if there is one."""
    for stage in TRAINED:
        for folder in ("checkpoints", "networks"):
            with suppress(FileNotFoundError):
                for name in os.listdir(run / stage / folder):
                    if "orbax-checkpoint-tmp" in name:
                        return run / stage / folder / name
    return None


def stop(number: signal.Signals, scene: Scene) -> None:
    """A signal that asks a run to stop, now and then twice."""
    _signal(scene, number, twice=scene.rng.random() < 0.2)


def _signal(scene: Scene, number: signal.Signals, *, twice: bool = False) -> None:
    wait, again = scene.some_time(), float(scene.rng.uniform(0, 0.5))
    process = scene.start()
    time.sleep(wait)
    scene.done.append(f"{number.name} after {wait:.2f} s")
    process.send(number)
    if twice:
        time.sleep(again)
        process.send(number)
        scene.done.append(f"and again after {again:.2f} s")
    scene.finish(process)


def fill_disk(scene: Scene) -> None:
    """A file system that gets full: a small tmpfs, or files limited in size."""
    room = int(2 ** scene.rng.uniform(12, 22))
    if not os.path.ismount(scene.folder):
        scene.done.append(f"files of at most {room} bytes")
        scene.finish(scene.start(partial(_limit, resource.RLIMIT_FSIZE, room)))
        return
    used = shutil.disk_usage(scene.folder).used
    scene.done.append(f"a disk with {room} bytes left")
    remount(scene.folder, used + room)
    scene.finish(scene.start())
    remount(scene.folder, 2**30)


def mount(folder: Path) -> bool:
    """Puts a file system of its own at a folder; False if that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def remount(folder: Path, size: int) -> None:
    """Changes the size of a file system of `mount`."""
    pages = -(-size // 4096)
    options = f"remount,size={pages * 4096}"
    subprocess.run(["mount", "-o", options, str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Takes a file system of `mount` away, and what is in it."""
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def limit_memory(scene: Scene) -> None:
    """``ulimit -v``: from little more than the imports need to nearly enough."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    room = int(2 ** scene.rng.uniform(25, 31))
    scene.done.append(f"{room >> 20} MiB of memory beyond the imports")
    scene.finish(scene.start(partial(_limit, resource.RLIMIT_AS, mapped + room)))


def limit_descriptors(scene: Scene) -> None:
    """``ulimit -n``: few open files."""
    files = int(scene.rng.integers(8, 44))
    scene.done.append(f"{files} open files")
    scene.finish(scene.start(partial(_limit, resource.RLIMIT_NOFILE, files)))


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def run_twice(scene: Scene) -> None:
    """Two calls at once; now and then the first one is killed."""
    first = scene.start()
    wait = float(scene.rng.uniform(0, 1.5))
    time.sleep(wait)
    scene.done.append(f"a second run after {wait:.2f} s")
    second = scene.start()
    if scene.rng.random() < 0.3:
        wait = scene.some_time()
        time.sleep(wait)
        first.send(signal.SIGKILL)
        scene.done.append(f"the first killed after {wait:.2f} s more")
    for process in (first, second):
        scene.finish(process)


def set_clock_back(scene: Scene) -> None:
    """A killed run whose files are of the future, in a process with a former time."""
    _signal(scene, signal.SIGKILL)
    offset = float(2 ** scene.rng.uniform(3, 25))
    scene.done.append(f"the clock set back by {offset:.0f} s")
    for path in scene.run.rglob("*"):
        when = path.stat().st_mtime + offset
        os.utime(path, (when, when))
    wait = scene.some_time()
    process = scene.start(partial(_set_clock, -offset))
    time.sleep(wait)
    process.send(signal.SIGTERM)
    scene.finish(process)


def _set_clock(offset: float) -> None:
    real = time.time
    time.time = lambda: real() + offset


def forbid(scene: Scene) -> None:
    """Files or folders that may not be read or written by the one who calls."""
    shallow = [scene.run, *sorted(scene.run.glob("*")), *sorted(scene.run.glob("*/*"))]
    folders = [path for path in shallow if path.is_dir()]
    everything = sorted(scene.run.rglob("*"))
    chosen = folders if scene.rng.random() < 0.7 else everything
    path = chosen[scene.rng.integers(len(chosen))]
    mode = 0o555 if path.is_dir() and scene.rng.random() < 0.5 else 0o000
    before = path.stat().st_mode
    scene.done.append(f"{path.relative_to(scene.folder)} has mode {mode:03o}")
    path.chmod(mode)
    scene.finish(scene.start(_drop_capabilities))
    if path.exists():
        path.chmod(before)


def _drop_capabilities() -> None:
    """Lets modes hold for root too."""
    version, nothing = 0x20080522, (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(version, 0)
    if ctypes.CDLL(None).capset(header, nothing):
        raise OSError("capabilities cannot be dropped")


def damage(how: Callable, scene: Scene) -> None:
    """Damages files of one kind, each kind as often as the others."""
    # Nobody can know what a release should be before it is packed.
    packed = (scene.run / "corpus" / "done.json").exists()
    kinds = file_damage.files_by_kind(scene.folder, with_release=packed)
    names = sorted(kinds)
    kind = names[scene.rng.integers(len(names))]
    for path in how(kinds[kind], scene.rng):
        scene.damaged.append(path)
    names = [str(path.relative_to(scene.folder)) for path in scene.damaged]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    scene.done.append(f"{how.__name__} {', '.join(names[:4])}{more}")


DISTURBANCES: dict[str, tuple[float, Disturb]] = {
    "bytes flipped": (14.0, partial(damage, file_damage.flip_bytes)),
    "file truncated": (1.5, partial(damage, file_damage.truncate)),
    "file deleted": (1.5, partial(damage, file_damage.delete)),
    "SIGKILL": (1.0, kill),
    "SIGKILL while saving": (1.0, kill_in_save),
    "SIGTERM": (0.6, partial(stop, signal.SIGTERM)),
    "SIGINT": (0.6, partial(stop, signal.SIGINT)),
    "SIGUSR1": (0.6, partial(stop, signal.SIGUSR1)),
    "disk full": (1.0, fill_disk),
    "little memory": (0.8, limit_memory),
    "few file descriptors": (0.8, limit_descriptors),
    "two runs at once": (0.8, run_twice),
    "clock set back": (0.8, set_clock_back),
    "permissions removed": (0.8, forbid),
}
"""How often each is chosen, relative to the others, and what it does."""
