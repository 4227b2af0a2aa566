"""Renders the table into files and puts them, once and atomically, into a folder named by their digest."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tgrpo_envs.assets.primitive.arena import FLOOR_SCENE, FLOOR_TEXTURE, WALL_TEXTURE, floor_scene_xml
from tgrpo_envs.assets.primitive.groceries import ITEMS
from tgrpo_envs.assets.primitive.mjcf import item_xml
from tgrpo_envs.assets.primitive.textures import plain_wall, plank_floor

CATEGORIES: Final[tuple[str, ...]] = tuple(item.category for item in ITEMS)


@cache
def render_files() -> Mapping[str, bytes]:
    """Every file of the pack by its path below the pack's folder; the same bytes on every machine."""
    files = {f"{item.family}/{item.category}/{item.category}.xml": item_xml(item).encode() for item in ITEMS}
    files[FLOOR_SCENE] = floor_scene_xml().encode()
    files[FLOOR_TEXTURE] = plank_floor()
    files[WALL_TEXTURE] = plain_wall()
    return files


@cache
def pack_digest() -> str:
    """SHA-256 over names and contents, shortened to 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name, content in sorted(render_files().items()):
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()[:16]


def generate_pack(parent: Path) -> Path:
    """Make sure the pack exists below `parent` and return its folder.

    The folder appears in one rename, complete, so several processes may ask at the same moment.

    Args:
        parent: Folder for generated packs, created if missing.

    Raises:
        OSError: `parent` cannot be written.
    """
    folder = parent / f"primitive-{pack_digest()}"
    if folder.is_dir():
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".primitive-", dir=parent))
    try:
        for name, content in render_files().items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # mkdtemp makes folders private; a cache may be shared.
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:
            # Another process renamed its own, identical, folder first; anything else is an error.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
