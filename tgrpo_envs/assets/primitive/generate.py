"""Renders the table into files and puts them, once and atomically, into a folder named by their digest."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from tgrpo_envs.assets.primitive import scenery, textures
from tgrpo_envs.assets.primitive.arena import ROOMS, TABLE_TEXTURE, room_xml
from tgrpo_envs.assets.primitive.items import ITEMS
from tgrpo_envs.assets.primitive.mjcf import item_file, item_xml
from tgrpo_envs.assets.primitive.palette import PALETTE_FILE, Palette
from tgrpo_envs.assets.primitive.shapes import Colour, Item, Part, Shape
from tgrpo_envs.errors import OutputError
from tgrpo_envs.files import atomic_folder, write_atomically

CATEGORIES: Final[tuple[str, ...]] = tuple(sorted(ITEMS))

_PICTURES: Final = {
    "textures/light-gray-floor-tile.png": textures.plank_floor,
    "textures/gray_ceramic_tile.png": textures.tile_floor,
    "textures/seamless_wood_planks_floor.png": textures.wood_floor,
    "textures/light-gray-plaster.png": textures.plain_wall,
    "textures/yellow_linen_wall_texture.png": textures.linen_wall,
    TABLE_TEXTURE: textures.table_wood,
}


@cache
def render_files() -> Mapping[str, bytes]:
    """Every file of the pack by its path below the pack's folder; the same bytes on every machine."""
    furniture = (*scenery.TABLE_LEGS, *scenery.LIVING_ROOM_TABLE, *scenery.DESK)
    drawn = [*furniture, *(shape for room in ROOMS for shape in room.scenery)]
    drawn += [shape for item in ITEMS.values() for shape in _drawn(item)]
    palette = Palette(_colour(shape) for shape in drawn)
    files = {item_file(item): item_xml(item, palette).encode() for item in ITEMS.values()}
    files |= {room.scene: room_xml(room, palette).encode() for room in ROOMS}
    files |= {name: draw() for name, draw in _PICTURES.items()}
    files[PALETTE_FILE] = palette.png()
    return files


def _drawn(body: Item | Part) -> Iterator[Shape]:
    yield from body.visual
    for part in body.parts:
        yield from _drawn(part)


def _colour(shape: Shape) -> Colour:
    if shape.colour is None:
        raise ValueError(f"A drawn {shape.kind} at {shape.centre_m} has no colour.")
    return shape.colour


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
        OutputError: `parent` cannot be written.
    """
    note = parent / f"primitive-{_sources_digest()}.txt"  # rendering all files to learn their digest takes 0.2 s
    with suppress(OSError, UnicodeDecodeError):
        name = note.read_text(encoding="utf-8")
        if name.startswith("primitive-") and os.path.isdir(parent / name):
            return parent / name
    folder = parent / f"primitive-{pack_digest()}"
    if not os.path.isdir(folder):  # pathlib raises where it may not look, and writing says why
        with atomic_folder(folder) as unfinished:
            for name, content in render_files().items():
                path = unfinished / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    with suppress(OutputError):  # a cache that may only be read serves without
        write_atomically(note, folder.name)
    return folder


def _sources_digest() -> str:
    """Of all that the files are made by: this package's sources, and numpy, which rounds."""
    total = hashlib.sha256(f"{np.__version__} {platform.python_version()}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
