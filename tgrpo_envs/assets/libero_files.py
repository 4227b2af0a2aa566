"""Tells LIBERO's own asset files from others in the same places, without reading all their megabytes."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path


@cache
def holds_liberos_files(folder: Path) -> bool:
    """Whether LIBERO's files lie in a folder: MJCF files with its contents, meshes and pictures of its sizes.

    Other files may lie beside them. What this cannot see is a mesh or picture that was changed and has kept its size,
    or one that is not in the table. Held in memory per folder.
    """
    return all(_fits(folder / name, known) for name, known in _table().items())


@cache
def _table() -> dict[str, int | str]:
    """By place in the folder: SHA-256 of an MJCF file, size in bytes of another; both of LIBERO's repository."""
    text = resources.files("tgrpo_envs").joinpath("assets/libero_files.json").read_text(encoding="utf-8")
    table: dict[str, int | str] = json.loads(text)
    return table


def _fits(file: Path, known: int | str) -> bool:
    try:
        if isinstance(known, int):
            return file.stat().st_size == known
        return hashlib.sha256(file.read_bytes()).hexdigest() == known
    except OSError:
        return False
