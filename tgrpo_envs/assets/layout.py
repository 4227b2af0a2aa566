"""Where LIBERO looks for things inside an asset folder, and which files its MJCF files need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

# Object files lie in one of these, as <family>/<category>/<category>.xml or <family>/<category>.xml.
FAMILIES: Final = ("stable_hope_objects", "stable_scanned_objects", "turbosquid_objects", "articulated_objects")
# Fixtures of a BDDL file that are part of the arena and have no file of their own.
WORKSPACES: Final = frozenset(
    {"floor", "table", "main_table", "kitchen_table", "living_room_table", "study_table", "coffee_table"}
)
# The arena classes put the style's picture in the place of these two textures (LIBERO: envs/arenas/*.py).
_STYLED_TEXTURES: Final = frozenset({"texplane", "tex-wall"})


@dataclass(frozen=True)
class Arena:
    """Files of one arena, relative to the asset folder: the scene and the two pictures its default style names."""

    scene: str
    floor_texture: str
    wall_texture: str


# Keyed by BDDL problem name, as in LIBERO's envs/problems/*.py and envs/arenas/style.py.
ARENAS: Final[dict[str, Arena]] = {
    problem: Arena(f"scenes/{scene}_base_style.xml", f"textures/{floor}", f"textures/{wall}")
    for problem, scene, floor, wall in (
        ("libero_floor_manipulation", "libero_floor", "light-gray-floor-tile.png", "light-gray-plaster.png"),
        ("libero_tabletop_manipulation", "libero_tabletop", "light-gray-floor-tile.png", "light-gray-plaster.png"),
        (
            "libero_kitchen_tabletop_manipulation",
            "libero_kitchen_tabletop",
            "gray_ceramic_tile.png",
            "yellow_linen_wall_texture.png",
        ),
        (
            "libero_living_room_tabletop_manipulation",
            "libero_living_room_tabletop",
            "seamless_wood_planks_floor.png",
            "light-gray-plaster.png",
        ),
        ("libero_study_tabletop_manipulation", "libero_study", "light-gray-floor-tile.png", "light-gray-plaster.png"),
    )
}


def object_file(folder: Path, category: str) -> Path | None:
    """The MJCF file of a category inside an asset folder, or None where the folder has no such object."""
    for family in FAMILIES:
        for path in (folder / family / category / f"{category}.xml", folder / family / f"{category}.xml"):
            if path.is_file():
                return path
    return None


def categories(folder: Path) -> tuple[str, ...]:
    """Sorted names of the objects and fixtures an asset folder holds."""
    found: set[str] = set()
    for family in FAMILIES:
        found.update(path.stem for path in folder.glob(f"{family}/*.xml"))
        found.update(path.stem for path in folder.glob(f"{family}/*/*.xml") if path.stem == path.parent.name)
    return tuple(sorted(found))


def referenced_files(mjcf: Path) -> Iterator[Path]:
    """Meshes and pictures an MJCF file names, resolved as robosuite does: relative to the file itself.

    Raises:
        xml.etree.ElementTree.ParseError: The file is not XML.
    """
    for node in ET.parse(mjcf).getroot().iterfind("./asset/*[@file]"):
        if node.get("name") not in _STYLED_TEXTURES:
            yield mjcf.parent / node.attrib["file"]
