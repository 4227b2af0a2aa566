"""The floor arena: the scene file that LIBERO's floor problems load, with its floor, walls, lights and cameras."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from tgrpo_envs.assets.primitive.mjcf import element, numbers, to_text

FLOOR_SCENE: Final = "scenes/libero_floor_base_style.xml"
# The style LIBERO's floor problem asks for by default (envs/arenas/style.py: "light-gray", "light-gray-plaster").
FLOOR_TEXTURE: Final = "textures/light-gray-floor-tile.png"
WALL_TEXTURE: Final = "textures/light-gray-plaster.png"

# name, centre (m), quaternion (w x y z), half extents (m): LIBERO's room, four by six metres, corners cut off
_WALLS: Final = (
    ("wall_leftcorner_visual", (-1.25, 2.25, 1.5), "0.6532815 0.6532815 0.2705981 0.2705981", (1.06, 1.5, 0.01)),
    ("wall_rightcorner_visual", (-1.25, -2.25, 1.5), "0.6532815 0.6532815 -0.2705981 -0.2705981", (1.06, 1.5, 0.01)),
    ("wall_left_visual", (1.25, 3.0, 1.5), "0.7071 0.7071 0 0", (1.75, 1.5, 0.01)),
    ("wall_right_visual", (1.25, -3.0, 1.5), "0.7071 -0.7071 0 0", (1.75, 1.5, 0.01)),
    ("wall_rear_visual", (-2.0, 0.0, 1.5), "0.5 0.5 0.5 0.5", (1.5, 1.5, 0.01)),
    ("wall_front_visual", (3.0, 0.0, 1.5), "0.5 0.5 -0.5 -0.5", (3.0, 1.5, 0.01)),
)
# name, position (m), quaternion (w x y z); LIBERO's problem class moves agentview and frontview when it loads the scene
_CAMERAS: Final = (
    ("frontview", (1.0, 0.0, 1.45), "0.56 0.43 0.43 0.56"),
    ("birdview", (-0.2, 0.0, 3.0), "0.7071 0 0 0.7071"),
    ("agentview", (0.5, 0.0, 1.35), "0.653 0.271 0.271 0.653"),
    ("sideview", (-0.0565, 1.2761, 1.4880), "0.0099051 0.0068780 0.5912228 0.8064181"),
)
_LIGHTS: Final = (("light1", (1.0, 1.0, 4.0)), ("light2", (-3.0, -3.0, 4.0)))


def floor_scene_xml() -> str:
    """MJCF text of the floor arena, with the texture, body and camera names LIBERO edits by name."""
    root = ET.Element("mujoco", model="floor_arena")
    asset = element(root, "asset")
    element(
        asset, "texture", type="skybox", builtin="gradient", rgb1=".9 .9 1", rgb2=".2 .3 .4", width="64", height="64"
    )
    for texture, material, file in (("texplane", "floorplane", FLOOR_TEXTURE), ("tex-wall", "walls_mat", WALL_TEXTURE)):
        element(asset, "texture", name=texture, type="2d", file=f"../{file}")
        finish = {"specular": "0", "shininess": "0", "texrepeat": "3 3", "texuniform": "true"}
        element(asset, "material", name=material, texture=texture, **finish)
    world = element(root, "worldbody")
    floor = element(world, "body", name="floor", pos="0 0 0")
    element(floor, "geom", name="floor", type="plane", size="3 3 .125", condim="3", group="1", material="floorplane")
    for name, centre, quat, half in _WALLS:
        placed = {"name": name, "type": "box", "pos": numbers(centre), "quat": quat, "size": numbers(half)}
        element(world, "geom", **placed, group="1", contype="0", conaffinity="0", material="walls_mat")
    for name, position in _LIGHTS:
        shine = {"diffuse": ".8 .8 .8", "specular": ".3 .3 .3", "castshadow": "false"}
        element(world, "light", name=name, pos=numbers(position), dir="0 -.15 -1", directional="false", **shine)
    for name, position, quat in _CAMERAS:
        element(world, "camera", name=name, mode="fixed", pos=numbers(position), quat=quat)
    return to_text(root)
