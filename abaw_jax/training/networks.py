"""Networks of finished training: one folder for each, with its digest beside it.

Teachers, initial networks and exported models are read from them. One that is damaged
is made again from the checkpoints of its run, where these are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Sharding

from abaw_jax.json_files import is_sealed, read_json, write_json
from abaw_jax.training.digests import tree_digest
from abaw_jax.training.orbax_io import (
    abstract,
    first_line,
    remove_unfinished,
    restored,
)
from abaw_jax.training.processes import is_first
from abaw_jax.training.sharding import Shardings, put_on_devices
from abaw_jax.training.state import (
    Variables,
    count_members,
    stack_members,
    take_member,
)


class DamagedNetworkError(ValueError):
    """A finished network that is missing, or is not as it was written."""


def save_networks(directory: Path, variables: Variables) -> None:
    """Writes every member of ``variables`` ``[K, ...]`` into ``directory/<k>``.

    Beside each is ``<k>.json`` with its digest, which is there before it. A network is
    written whole or not at all; one that is there already is replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    remove_unfinished(directory)
    with _checkpointer() as checkpointer:
        for index in range(count_members(variables)):
            path = directory.absolute() / str(index)
            network = take_member(variables, index)
            digest = tree_digest(network)
            if is_first():
                write_json(_digest_file(path), {"network": digest})
            checkpointer.save(path, network, force=True)


def load_networks(
    directory: Path, like: Variables, members: int, sharding: Sharding
) -> Variables:
    """Reads what `save_networks` wrote, ``[K, ...]`` per leaf.

    Args:
      directory: of a finished run.
      like: shapes of one member.
      members: how many there are.
      sharding: of the result.

    Raises:
      DamagedNetworkError: if a network is missing, cannot be read or is not as it was
        written; names it.
    """
    replicated = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = abstract(like, replicated)
    found = []
    with _checkpointer() as checkpointer:
        for index in range(members):
            path = directory.absolute() / str(index)
            network, reason = restored(partial(checkpointer.restore, path, wanted))
            if network is None:
                raise DamagedNetworkError(f"The network {path} {reason}")
            _require_as_written(path, network)
            found.append(network)
    return put_on_devices(stack_members(found), sharding)


def load_network(path: Path) -> Variables:
    """Reads one network that `save_networks` wrote, of whatever shapes.

    Raises:
      ValueError: if it cannot be read.
    """
    path = path.absolute()
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _checkpointer() as checkpointer:
        try:
            like = ocp.PyTreeCheckpointHandler().metadata(epath.Path(path)).tree
            network = checkpointer.restore(path, abstract(like, one))
        except Exception as error:  # Orbax raises bare ones for truncated arrays
            raise ValueError(
                f"The network {path} cannot be read ({first_line(error)})."
            ) from None
    _require_as_written(path, network)
    return network


def load_fitted(
    directory: Path, like: Variables, members: int, shardings: Shardings
) -> Variables:
    """The variables that `fit` returned when it ended, ``[K, ...]`` per leaf.

    Args:
      directory: of the run.
      like: shapes of one member.
      members: how many there are.
      shardings: where to put them.

    Raises:
      DamagedNetworkError: if they are missing or damaged; says what to do.
    """
    try:
        return load_networks(directory / "networks", like, members, shardings.members)
    except DamagedNetworkError as error:
        if not _has_checkpoints(directory):
            remedy = f"Delete {directory}: then the run's command trains it again."
        else:
            remedy = "The run's command makes it again from the checkpoints beside it."
        raise DamagedNetworkError(f"{error}. {remedy}") from None


def load_if_sound(
    directory: Path,
    like: Variables,
    members: int,
    shardings: Shardings,
    warn: Callable[[str], None],
) -> Variables | None:
    """The same; ``None``, after one sentence, if `fit` can make them again.

    Args:
      directory: as of `load_fitted`, like the next three.
      like: likewise.
      members: likewise.
      shardings: likewise.
      warn: called with the sentence.

    Raises:
      DamagedNetworkError: if they are damaged and there is no checkpoint.
    """
    try:
        return load_fitted(directory, like, members, shardings)
    except DamagedNetworkError as error:
        if not _has_checkpoints(directory):
            raise
        warn(str(error))
        return None


def _has_checkpoints(directory: Path) -> bool:
    return any(path.name.isdigit() for path in directory.glob("checkpoints/*"))


def _require_as_written(path: Path, network: Variables) -> None:
    """Compares a network with its digest; those of earlier versions have none.

    The ends of their stages have none either, so one that was deleted is missed.
    """
    ended = path.parent.with_name("done.json")
    if not _digest_file(path).exists() and not is_sealed(ended):
        return
    recorded = read_json(_digest_file(path)) or {}
    if recorded.get("network") != tree_digest(network):
        raise DamagedNetworkError(
            f"The network {path} is not as it was written (CRC-32)"
        )


def _digest_file(network: Path) -> Path:
    return network.with_name(f"{network.name}.json")


@contextmanager
def _checkpointer() -> Iterator[ocp.StandardCheckpointer]:
    checkpointer = ocp.StandardCheckpointer()
    try:
        yield checkpointer
        checkpointer.wait_until_finished()
    finally:
        checkpointer.close()
