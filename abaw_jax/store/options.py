"""Records the options that a store's crops are packed with, and refuses others.

Crops are packed again if their options change, so a forgotten option would replace the
whole store. Stores of earlier versions have no record; if such a store is finished, its
manifest is compared.
"""

import uuid
from pathlib import Path
from typing import Any

from abaw_jax.json_files import read_json, write_json
from abaw_jax.store.frames import StoreError
from abaw_jax.store.pieces import Packer
from abaw_jax.store.reader import MANIFEST

OPTIONS = "options.json"


def require_same_options(packer: Packer) -> None:
    """Compares a packer with what the pieces in its store were packed with.

    Raises:
      StoreError: if an option differs; says which, its values, and what to do.
    """
    store, options = packer.store, _options(packer)
    if store is None or not store.is_dir():
        return
    found = read_json(store / OPTIONS) or read_json(store / MANIFEST) or {}
    found = {name: found[name] for name in options if name in found}
    different = [name for name in found if found[name] != options[name]]
    if different:
        was = "; ".join(f"{n} was {found[n]}, now {options[n]}" for n in different)
        raise StoreError(
            f"{store} was packed with other options: {was}; give the former values, "
            f"choose another store, or delete {store} to pack it again"
        )


def record_options(packer: Packer) -> None:
    """Writes the record if there is none; called before the first piece is written.

    Raises:
      StoreError: as `require_same_options`.
    """
    require_same_options(packer)
    if packer.store is not None and not has_record(packer.store):
        # Processes of other shares may begin at the same time.
        path, writer = packer.store / OPTIONS, uuid.uuid4().hex
        write_json(path, _options(packer), writer)


def has_record(store: Path) -> bool:
    """False for a store that an earlier version began."""
    return read_json(store / OPTIONS) is not None


def _options(packer: Packer) -> dict[str, Any]:
    return {"image_size": packer.image_size, "images": packer.images}
