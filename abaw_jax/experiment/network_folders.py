"""Folders of networks that training may start from (train.init)."""

from pathlib import Path

FITTED, EXPORTED = Path("networks", "0"), "heads.safetensors"
"""What a stage of a run holds, and an exported model."""


def has_network(folder: Path) -> bool:
    """True if training can start from what is in a folder."""
    return (folder / FITTED).is_dir() or (folder / EXPORTED).is_file()


def no_network(path: str) -> str:
    """Says what ``train.init`` has to name."""
    return (
        f"config.train.init: {path} holds no network: name a stage of a finished run, "
        "as RUN/teacher, or the folder of an exported model"
    )
