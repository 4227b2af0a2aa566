"""Writes one table entry as the MJCF file that LIBERO's object classes read."""

from __future__ import annotations

import math
from typing import Final
from xml.etree import ElementTree as ET

from tgrpo_envs.assets.primitive.shapes import Item, Shape, Vector3, box_volume

# LIBERO's contact parameters, the same in every one of its object files.
_CONTACT: Final = {"solimp": "0.998 0.998 0.001", "solref": "0.001 1", "friction": "0.95 0.3 0.1"}
# Collision shapes lie in group 0, which LIBERO's cameras do not draw; translucent for whoever switches the group on.
_COLLISION_RGBA: Final = "0.8 0.8 0.8 0.3"

Quaternion = tuple[float, float, float, float]


def item_xml(item: Item) -> str:
    """MJCF text of one object, with the body and site names robosuite's `MujocoXMLObject` looks for."""
    root = ET.Element("mujoco", model=item.category)
    asset = element(root, "asset")
    element(asset, "material", name=item.category, specular="0.2", shininess="0.2")
    outer = element(element(root, "worldbody"), "body")
    body = element(outer, "body", name="object")
    if item.contain_region is not None:
        centre, half = item.contain_region
        # Half a turn about z, as LIBERO has it: its reader of regions insists on a quaternion.
        site = {"pos": numbers(centre), "quat": "0 0 0 1", "size": numbers(half), "rgba": "0.8 0 0 0"}
        element(body, "site", name="contain_region", type="box", group="0", **site)
    total = sum(box_volume(shape) for shape in item.collision)
    for shape in item.visual:
        look = {"material": item.category, "rgba": numbers((*(shape.colour or (1.0, 1.0, 1.0)), 1.0))}
        element(body, "geom", **_placed(shape, item), group="1", contype="0", conaffinity="0", **look)
    for shape in item.collision:
        mass = f"{item.mass_kg * box_volume(shape) / total:.8g}"
        element(body, "geom", **_placed(shape, item), group="0", mass=mass, rgba=_COLLISION_RGBA, **_CONTACT)
    for name, position in (
        ("bottom_site", (0.0, 0.0, item.bottom_m)),
        ("top_site", (0.0, 0.0, item.top_m)),
        ("horizontal_radius_site", (item.radius_m, item.radius_m, 0.0)),
    ):
        element(outer, "site", name=name, pos=numbers(position), size="0.005", rgba="0 0 0 0")
    return to_text(root)


def element(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    """Append a child element; attributes keep the order they are given in."""
    return ET.SubElement(parent, tag, attributes)


def numbers(values: tuple[float, ...]) -> str:
    """Numbers as MJCF wants them, to a hundredth of a millimetre and without negative zero."""
    return " ".join(f"{round(value, 5) + 0.0:.7g}" for value in values)


def to_text(root: ET.Element) -> str:
    """Indented XML text."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _placed(shape: Shape, item: Item) -> dict[str, str]:
    """The geom attributes of a standing shape in the frame of the item's body."""
    size = (shape.half_m[0], shape.half_m[2]) if shape.kind == "cylinder" else shape.half_m
    axis, degrees = shape.turn
    half_angle = math.radians(degrees) / 2
    turn = (math.cos(half_angle), *(math.sin(half_angle) * float(axis == name) for name in "xyz"))
    centre = shape.centre_m
    if item.up == "y":
        centre, turn = _lay_down(centre, (turn[0], turn[1], turn[2], turn[3]))
    quat = " ".join(f"{round(value, 7) + 0.0:.9g}" for value in turn)
    return {"type": shape.kind, "pos": numbers(centre), "quat": quat, "size": numbers(size)}


def _lay_down(position: Vector3, turn: Quaternion) -> tuple[Vector3, Quaternion]:
    """Rotate by -90 degrees about x, which takes the standing frame's z to the body's y."""
    x, y, z = position
    w, i, j, k = turn
    c = math.sqrt(0.5)
    return (x, z, -y), (c * (w + i), c * (i - w), c * (j + k), c * (k - j))
