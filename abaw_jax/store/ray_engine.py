"""Packs pieces over a Ray cluster (extra ``ray``): a task a piece, a processor each.

All machines see the release and the store at the same paths and have this package; only
records and frame numbers are sent over the network. Ray restarts a task elsewhere when
its process or its machine dies. The main thread waits for futures and never inside Ray,
where Python's handlers of signals do not run.
"""

import dataclasses
import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from abaw_jax.store.frames import StoreError
from abaw_jax.store.packing import Engine, Task, remove_manifest
from abaw_jax.store.pieces import Packer

_RETRIES = 3
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_ANSWER = 10.0
_RESULTS_BYTES = 128 << 20  # those that wait for the driver, of a cluster started here

Say = Callable[[str], None]


@contextmanager
def open_ray(address: str | None, workers: int | None, say: Say) -> Iterator[Engine]:
    """Connects to a Ray cluster; without an address one is started here, and ended.

    Args:
      address: such as ``auto``, or ``HOST:6379``; None starts a cluster.
      workers: processes of a cluster that is started; by default one a processor.
      say: called with a sentence when a machine of the cluster goes.

    Raises:
      StoreError: if Ray is not installed, or there is no such cluster.
    """
    ray = _import_ray()
    done = threading.Event()
    # Not in the main thread, where Ray takes SIGTERM for itself. The thread stays: the
    # cluster that it starts ends with it.
    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(_connect, ray, address, workers).result()
            _take_signals_back()
            cluster = _Cluster(ray, say)
            watch = threading.Thread(target=cluster.watch, args=(done,), daemon=True)
            watch.start()
            yield cluster
            cluster.sum_up()
        finally:
            done.set()
            pool.submit(ray.shutdown).result()


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported
    try:
        ray: Any = import_module("ray")
        ray.init  # noqa: B018 - a mere folder of that name has none
    except (ImportError, AttributeError):
        sentence = "--engine=ray needs Ray: pip install 'abaw_jax[ray]'."
        raise StoreError(sentence) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # A page for each process that died; no setting of Ray's keeps it from the terminal.
    ray._private.worker.print_to_stdstream = _ignore
    return ray


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"address": address or "local"}
    if address is None:
        options |= {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        options["object_store_memory"] = _RESULTS_BYTES
    elif address not in ("auto", "local"):
        _check_reachable(address)
    try:
        ray.init(
            **options,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.CRITICAL,
        )
    except (ValueError, ConnectionError, RuntimeError, OSError) as error:
        where = f"at {address}" if address else "on this machine"
        reason = str(error).strip().partition("\n")[0]
        raise StoreError(f"no Ray cluster {where}: {reason}") from None


def _take_signals_back() -> None:
    """Ray's library prints a traceback before it calls Python's handler of SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _check_reachable(address: str) -> None:
    """Refuses an address where nothing answers; Ray would try it for many minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise StoreError(
            f"no Ray cluster at {address} ({error}): give auto, or the HOST:PORT that "
            "ray start --head shows"
        ) from None


class _Cluster:
    """The engine: gives tasks to the cluster, and results to the threads here."""

    def __init__(self, ray: Any, say: Say) -> None:
        self._ray = ray
        self._say = say
        self._call = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
        self._nodes: dict[str, str] = {}
        self._repeated = 0
        self.places = 2
        self.look()

    def submit(self, packer: Packer, task: Task) -> Future[Any]:
        """Starts a task; its progress shows when it has ended."""
        renew = partial(remove_manifest, packer.store)
        away = dataclasses.replace(packer, on_progress=_ignore, renew=renew)
        result: Future[Any] = Future()
        reference = self._call.options(name=task.name).remote(away, task)
        reference.future().add_done_callback(
            partial(self._pass_on, packer, task, result)
        )
        return result

    def cancel(self) -> None:
        """Nothing: the tasks end with the connection."""

    def watch(self, done: threading.Event) -> None:
        """Looks now and then until it is done."""
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            self.look()

    def look(self) -> None:
        """Counts the processors, and says which machines have gone."""
        nodes = {n["NodeID"]: n for n in self._ray.nodes() if n["Alive"]}
        for lost in self._nodes.keys() - nodes.keys():
            self._say(
                f"machine {self._nodes[lost]} has left the Ray cluster: what it had "
                "begun is packed elsewhere"
            )
        self._nodes = {key: n["NodeManagerAddress"] for key, n in nodes.items()}
        processors = sum(n["Resources"].get("CPU", 0) for n in nodes.values())
        self.places = 2 * max(1, int(processors))

    def sum_up(self) -> None:
        """Says how many tasks were begun more than once."""
        if self._repeated:
            self._say(
                f"{self._repeated} pieces were begun again, since the process or the "
                "machine that had begun them died; nothing is lost"
            )

    def _pass_on(
        self, packer: Packer, task: Task, result: Future[Any], done: Future[Any]
    ) -> None:
        try:
            value, attempt = done.result()
            self._repeated += attempt > 0
            packer.on_progress(task.crops)
        except BaseException as error:
            result.set_exception(self._explain(error, task))
        else:
            result.set_result(value)

    def _explain(self, error: Any, task: Task) -> BaseException:
        """The error of the task itself, or a sentence on that of the cluster."""
        errors = self._ray.exceptions
        if isinstance(error, errors.RayTaskError):
            cause: BaseException = error.cause
            cause.__cause__ = error
            return cause
        if not isinstance(error, errors.RayError):
            return error
        reason = str(error).strip().partition("\n")[0]
        sentence = (
            f"Ray gave up on {task.name} ({reason.rstrip('.')}); what is finished is "
            "kept, so run prepare again"
        )
        return StoreError(sentence)


def _call(packer: Packer, task: Task) -> tuple[Any, int]:
    """A task in a process of the cluster, which may be tried elsewhere meanwhile.

    Returns:
      The result, and how often the task had been begun before.
    """
    ray: Any = import_module("ray")
    packer = dataclasses.replace(packer, writer=uuid.uuid4().hex)
    worker = ray._private.worker.global_worker.core_worker  # no public name tells it
    return task.call(packer, *task.arguments), worker.get_current_task_attempt_number()


def _ignore(*arguments: Any, **options: Any) -> None:
    """Shows nothing: neither the messages of Ray nor, from there, the progress."""
