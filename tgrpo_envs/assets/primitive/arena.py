"""The five arenas: the scene files that LIBERO's problems load, with walls, table, scenery, lights and cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from tgrpo_envs.assets.primitive.mjcf import (
    directions,
    element,
    numbers,
    painted_geom,
    painted_material,
    solid_geom,
    to_text,
)
from tgrpo_envs.assets.primitive.palette import PALETTE_FILE, Palette
from tgrpo_envs.assets.primitive.scenery import DESK, KITCHEN, LIVING_ROOM, LIVING_ROOM_TABLE, STUDY, TABLE_LEGS
from tgrpo_envs.assets.primitive.shapes import LIBERO_CONTACT, Quaternion, Shape, Vector3, block

TABLE_TEXTURE: Final = "textures/martin_novak_wood_table.png"

# The styles LIBERO's problems ask for by default (envs/arenas/style.py).
_LIGHT_FLOOR: Final = "textures/light-gray-floor-tile.png"
_LIGHT_WALL: Final = "textures/light-gray-plaster.png"

_Placed = tuple[str, Vector3, Quaternion, Vector3]
_SIDE: Final = (0.7071, 0.7071, 0.0, 0.0)
_OTHER_SIDE: Final = (0.7071, -0.7071, 0.0, 0.0)
_REAR: Final = (0.5, 0.5, 0.5, 0.5)
_FRONT: Final = (0.5, 0.5, -0.5, -0.5)
# name, centre (m), quaternion (w x y z), half extents (m): LIBERO's room, four by six metres, corners cut off
_WALLS: Final[tuple[_Placed, ...]] = (
    ("wall_leftcorner_visual", (-1.25, 2.25, 1.5), (0.6532815, 0.6532815, 0.2705981, 0.2705981), (1.06, 1.5, 0.01)),
    ("wall_rightcorner_visual", (-1.25, -2.25, 1.5), (0.6532815, 0.6532815, -0.2705981, -0.2705981), (1.06, 1.5, 0.01)),
    ("wall_left_visual", (1.25, 3.0, 1.5), _SIDE, (1.75, 1.5, 0.01)),
    ("wall_right_visual", (1.25, -3.0, 1.5), _OTHER_SIDE, (1.75, 1.5, 0.01)),
    ("wall_rear_visual", (-2.0, 0.0, 1.5), _REAR, (1.5, 1.5, 0.01)),
    ("wall_front_visual", (3.0, 0.0, 1.5), _FRONT, (3.0, 1.5, 0.01)),
)
# The kitchen has room for its furniture: no corners are cut off.
_KITCHEN_WALLS: Final[tuple[_Placed, ...]] = (
    ("wall_left_visual", (0.5, 3.0, 1.5), _SIDE, (2.5, 1.5, 0.01)),
    ("wall_right_visual", (0.5, -3.0, 1.5), _OTHER_SIDE, (2.5, 1.5, 0.01)),
    ("wall_rear_visual", (-2.0, 0.0, 1.5), _REAR, (3.0, 1.5, 0.01)),
    ("wall_front_visual", (3.0, 0.0, 1.5), _FRONT, (3.0, 1.5, 0.01)),
)
# name, position (m), quaternion (w x y z); LIBERO's problem class moves agentview and frontview when it loads the scene
_CAMERAS: Final = (
    ("frontview", (1.0, 0.0, 1.45), "0.56 0.43 0.43 0.56"),
    ("birdview", (-0.2, 0.0, 3.0), "0.7071 0 0 0.7071"),
    ("agentview", (0.5, 0.0, 1.35), "0.653 0.271 0.271 0.653"),
    ("sideview", (-0.0565, 1.2761, 1.4880), "0.0099051 0.0068780 0.5912228 0.8064181"),
)
_LIGHTS: Final = (("light1", (1.0, 1.0, 4.0)), ("light2", (-3.0, -3.0, 4.0)))


@dataclass(frozen=True)
class Room:
    """One arena.

    Attributes:
        scene: Its file below the pack's folder.
        floor: Picture of the floor, likewise.
        wall: Picture of the walls, likewise.
        walls: What stands around; drawn only.
        scenery: Furniture and decoration that is only drawn.
        furnish: Adds the table, with the names LIBERO's arena class edits.
        loose_floor: Whether the floor lies in a body of its own.
        glossy: Whether the walls shine as LIBERO's do around tables, specular and shininess.
        lamp: A light from straight above in addition to the two that every room has.
    """

    scene: str
    floor: str
    wall: str
    walls: tuple[_Placed, ...] = _WALLS
    scenery: tuple[Shape, ...] = ()
    furnish: Callable[[ET.Element, ET.Element, Palette], None] | None = None
    loose_floor: bool = False
    glossy: tuple[float, float] = (0.0, 0.0)
    lamp: bool = False


def room_xml(room: Room, palette: Palette) -> str:
    """MJCF text of an arena, with the texture, body and camera names LIBERO edits by name."""
    root = ET.Element("mujoco", model=room.scene.rpartition("/")[2].removesuffix("_base_style.xml"))
    asset = element(root, "asset")
    sky = {"rgb1": ".9 .9 1", "rgb2": ".2 .3 .4", "width": "64", "height": "64"}
    element(asset, "texture", type="skybox", builtin="gradient", **sky)
    specular, shininess = (f"{value:g}" for value in room.glossy)
    for texture, material, file, finish in (
        ("texplane", "floorplane", room.floor, {"specular": "0", "shininess": "0"}),
        ("tex-wall", "walls_mat", room.wall, {"specular": specular, "shininess": shininess}),
    ):
        element(asset, "texture", name=texture, type="2d", file=f"../{file}")
        element(asset, "material", name=material, texture=texture, **finish, texrepeat="3 3", texuniform="true")
    world = element(root, "worldbody")
    ground = element(world, "body", name="floor", pos="0 0 0") if room.loose_floor else world
    element(ground, "geom", name="floor", type="plane", size="3 3 .125", condim="3", group="1", material="floorplane")
    for name, centre, quat, half in room.walls:
        placed = {"name": name, "type": "box", "pos": numbers(centre), "quat": directions(quat), "size": numbers(half)}
        element(world, "geom", **placed, group="1", contype="0", conaffinity="0", material="walls_mat")
    if room.furnish is not None:
        painted_material(asset, "furniture", f"../{PALETTE_FILE}")
        room.furnish(world, asset, palette)
    if room.scenery:
        painted_geom(world, asset, room.scenery, "scenery", "furniture", palette)
    _lights_and_cameras(world, room)
    return to_text(root)


def _lights_and_cameras(world: ET.Element, room: Room) -> None:
    if room.lamp:
        shine = {"diffuse": ".8 .8 .8", "specular": ".8 .8 .8", "castshadow": "false"}
        element(world, "light", name="light_kitchen", pos="-1.75 0 1.6", dir="0 0 -1", directional="true", **shine)
    for name, position in _LIGHTS:
        shine = {"diffuse": ".8 .8 .8", "specular": ".3 .3 .3", "castshadow": "false"}
        element(world, "light", name=name, pos=numbers(position), dir="0 -.15 -1", directional="false", **shine)
    for name, position, quat in _CAMERAS:
        element(world, "camera", name=name, mode="fixed", pos=numbers(position), quat=quat)


def _plain_table(world: ET.Element, asset: ET.Element, palette: Palette) -> None:
    """A table top whose size and place LIBERO's arena class sets.

    That class also sets four legs; they are put into the group that is not drawn, and drawn as one mesh instead.
    """
    element(asset, "texture", name="tex-table", type="cube", file=f"../{TABLE_TEXTURE}")
    element(asset, "material", name="table_texture", texture="tex-table", specular="0.2", shininess="0")
    table = element(world, "body", name="table", pos="0 0 0.4")
    top = {"type": "box", "pos": "0 0 0", "size": "0.4 0.4 0.4"}
    element(table, "geom", name="table_collision", **top, group="0", friction="1 0.005 0.0001")
    ghost = {"contype": "0", "conaffinity": "0"}
    element(table, "geom", name="table_visual", **top, group="1", **ghost, material="table_texture")
    element(table, "site", name="table_top", pos="0 0 0.4", size="0.001 0.001 0.001", rgba="0 0 0 0")
    for leg in range(1, 5):
        element(table, "geom", name=f"table_leg{leg}_visual", type="cylinder", size="0.05 0.1", group="0", **ghost)
    painted_geom(world, asset, TABLE_LEGS, "table_legs", "furniture", palette)


def _living_room_table(world: ET.Element, asset: ET.Element, palette: Palette) -> None:
    """A low round table on a pedestal; five boxes make its top, as in LIBERO."""
    table = element(world, "body", name="living_room_table", pos="0 0 0")
    inner = element(table, "body", name="living_room_table_col", pos="-0.25 0.25 0", quat="0.707 0 0 0.707")
    for solid in (
        block((-0.19761, 0.0, 0.42492), (0.67171, 0.44432, 0.01184)),
        block((0.54936, 0.0, 0.42492), (0.10133, 0.41675, 0.01184)),
        block((-0.97006, 0.0, 0.42492), (0.10133, 0.41675, 0.01184)),
        block((-0.19761, -0.51121, 0.42492), (0.67171, 0.07752, 0.01184)),
        block((-0.19761, 0.49665, 0.42492), (0.67171, 0.07752, 0.01184)),
        block((0.0, 0.0, 0.20414), (0.43516, 0.41162, 0.20884)),
    ):
        solid_geom(inner, solid, LIBERO_CONTACT)
    painted_geom(table, asset, LIVING_ROOM_TABLE, "living_room_table", "furniture", palette)


def _desk(world: ET.Element, asset: ET.Element, palette: Palette) -> None:
    """A desk with four legs and a bar between those of each side."""
    table = element(world, "body", name="study_table", pos="0 0 0")
    for solid in (
        block((0.0, 0.0, 0.84929), (0.68946, 1.39273, 0.03584)),
        block((-0.50048, -0.69064, 0.39431), (0.02002, 0.05031, 0.39407)),
        block((0.49617, -0.69064, 0.39431), (0.02002, 0.05031, 0.39407)),
        block((0.49617, 0.70968, 0.39431), (0.02002, 0.05032, 0.39407)),
        block((-0.50048, 0.71473, 0.39431), (0.02002, 0.05031, 0.39407)),
        block((-0.00488, 0.71473, 0.02528), (0.51262, 0.05031, 0.02002)),
        block((-0.00488, -0.69765, 0.02528), (0.51262, 0.05032, 0.02002)),
    ):
        solid_geom(table, solid, LIBERO_CONTACT)
    painted_geom(table, asset, DESK, "study_table", "furniture", palette)


ROOMS: Final = (
    Room("scenes/libero_floor_base_style.xml", _LIGHT_FLOOR, _LIGHT_WALL, loose_floor=True),
    Room(
        "scenes/libero_tabletop_base_style.xml",
        _LIGHT_FLOOR,
        _LIGHT_WALL,
        furnish=_plain_table,
        glossy=(0.8, 0.1),
    ),
    Room(
        "scenes/libero_kitchen_tabletop_base_style.xml",
        "textures/gray_ceramic_tile.png",
        "textures/yellow_linen_wall_texture.png",
        walls=_KITCHEN_WALLS,
        scenery=KITCHEN,
        furnish=_plain_table,
        glossy=(0.8, 0.3),
        lamp=True,
    ),
    Room(
        "scenes/libero_living_room_tabletop_base_style.xml",
        "textures/seamless_wood_planks_floor.png",
        _LIGHT_WALL,
        scenery=LIVING_ROOM,
        furnish=_living_room_table,
        loose_floor=True,
        glossy=(0.9, 0.2),
    ),
    Room(
        "scenes/libero_study_base_style.xml",
        _LIGHT_FLOOR,
        _LIGHT_WALL,
        scenery=STUDY,
        furnish=_desk,
        glossy=(0.8, 0.1),
    ),
)
