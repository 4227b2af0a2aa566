"""Writes one table entry as the MJCF file that LIBERO's object classes read."""

from __future__ import annotations

import math
from typing import Final
from xml.etree import ElementTree as ET

from tgrpo_envs.assets.primitive.meshes import Triangles, attitude, joined, product, triangles
from tgrpo_envs.assets.primitive.palette import PALETTE_FILE, Palette
from tgrpo_envs.assets.primitive.shapes import (
    UNTURNED,
    Contact,
    Inertia,
    Item,
    Part,
    Quaternion,
    Region,
    Shape,
    Vector3,
    volume,
)

# Collision shapes lie in group 0, which LIBERO's cameras do not draw; translucent for whoever switches the group on.
_COLLISION_RGBA: Final = "0.8 0.8 0.8 0.3"
# How names of drawn meshes end: they have few faces already, and reducing them further would spoil them.
PAINTED: Final = "_painted"
# -90 degrees about x: takes the standing frame's z to the y of bodies that LIBERO turns upright.
_LYING: Final[Quaternion] = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)


def item_file(item: Item) -> str:
    """Where LIBERO's object class looks for the item: articulated ones have no folder of their own."""
    own = "" if item.family == "articulated_objects" else f"{item.category}/"
    return f"{item.family}/{own}{item.category}.xml"


def item_xml(item: Item, palette: Palette) -> str:
    """MJCF text of one object, with the body and site names robosuite's `MujocoXMLObject` looks for."""
    root = ET.Element("mujoco", model=item.category)
    element(root, "compiler", angle="radian")
    asset = element(root, "asset")
    depth = item_file(item).count("/")
    painted_material(asset, item.category, "../" * depth + PALETTE_FILE)
    outer = element(element(root, "worldbody"), "body")
    frame = _LYING if item.up == "y" else UNTURNED
    trunk = Part(
        "object",
        mass=item.mass_kg,
        collision=item.collision,
        visual=item.visual,
        regions=item.regions,
        parts=item.parts,
        contact=item.contact,
    )
    _body(outer, asset, trunk, item.category, frame, palette)
    for name, position in (
        ("bottom_site", (0.0, 0.0, item.bottom_m)),
        ("top_site", (0.0, 0.0, item.top_m)),
        ("horizontal_radius_site", (item.radius_m, item.radius_m, 0.0)),
    ):
        element(outer, "site", name=name, pos=numbers(position), size="0.005", rgba="0 0 0 0")
    return to_text(root)


def painted_material(asset: ET.Element, name: str, file: str) -> None:
    """A material whose colour is looked up in the palette."""
    element(asset, "texture", name=f"{name}_palette", type="2d", file=file)
    element(asset, "material", name=name, texture=f"{name}_palette", specular="0.2", shininess="0.2")


def painted_geom(
    body: ET.Element,
    asset: ET.Element,
    shapes: tuple[Shape, ...],
    name: str,
    material: str,
    palette: Palette,
    frame: Quaternion = UNTURNED,
) -> None:
    """Draw shapes as one mesh, which is added to the assets."""
    meshes, places = [], []
    for shape in shapes:
        mesh = triangles(shape).placed(product(frame, attitude(shape)), _turned(frame, shape.centre_m))
        meshes.append(mesh)
        places += [palette.place(shape.colour)] * len(mesh.vertices_V3)
    _mesh(asset, name + PAINTED, joined(meshes), places)
    drawn = {"type": "mesh", "mesh": name + PAINTED, "material": material, "group": "1"}
    element(body, "geom", **drawn, contype="0", conaffinity="0")


def solid_geom(body: ET.Element, shape: Shape, contact: Contact, frame: Quaternion = UNTURNED, **more: str) -> None:
    """A shape that touches others."""
    size = shape.half_m if shape.kind == "box" else (shape.half_m[0], shape.half_m[2])
    placed = {"type": shape.kind, "pos": numbers(_turned(frame, shape.centre_m)), "size": numbers(size)}
    placed["quat"] = directions(product(frame, attitude(shape)))
    touching = {"friction": numbers(contact.friction), "solref": numbers(contact.solref)}
    touching["solimp"] = numbers(contact.solimp)
    if contact.margin:
        touching["margin"] = numbers((contact.margin,))
    if contact.contype != 1:
        touching["contype"] = str(contact.contype)
    element(body, "geom", **placed, group="0", rgba=_COLLISION_RGBA, **touching, **more)


def element(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    """Append a child element; attributes keep the order they are given in."""
    return ET.SubElement(parent, tag, attributes)


def numbers(values: tuple[float, ...]) -> str:
    """Numbers as MJCF wants them, to a hundredth of a millimetre and without negative zero."""
    return " ".join(f"{round(value, 5) + 0.0:.7g}" for value in values)


def directions(quat: Quaternion) -> str:
    """A quaternion as MJCF wants it."""
    return " ".join(f"{round(value, 7) + 0.0:.9g}" for value in quat)


def to_text(root: ET.Element) -> str:
    """Indented XML text."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _body(
    parent: ET.Element, asset: ET.Element, part: Part, material: str, frame: Quaternion, palette: Palette
) -> None:
    """A body with everything in it, and the bodies inside."""
    body = element(parent, "body", name=part.name)
    if part.centre_m != (0.0, 0.0, 0.0) or part.quat != UNTURNED:
        body.set("pos", numbers(part.centre_m))
        body.set("quat", directions(part.quat))
    if isinstance(part.mass, Inertia):
        centre, moments = numbers(part.mass.centre_m), numbers(part.mass.moments)
        element(body, "inertial", pos=centre, mass=f"{part.mass.mass_kg:.8g}", fullinertia=moments)
    if part.joint is not None:
        movable = {"name": part.joint.name, "type": part.joint.kind, "axis": numbers(part.joint.axis)}
        limits = {"limited": "true", "range": numbers(part.joint.range)}
        element(body, "joint", **movable, **limits, damping=numbers((part.joint.damping,)))
    for region in part.regions:
        _site(body, region)
    if part.visual:
        painted_geom(body, asset, part.visual, f"{material}_{part.name}", material, palette, frame)
    total = sum(volume(shape) for shape in part.collision)
    spread = 0.0 if isinstance(part.mass, Inertia) else part.mass
    for shape in part.collision:
        solid_geom(body, shape, part.contact, frame, mass=f"{spread * volume(shape) / total:.8g}")
    for inner in part.parts:
        _body(body, asset, inner, material, frame, palette)


def _site(body: ET.Element, region: Region) -> None:
    placed = {"pos": numbers(region.centre_m), "quat": directions(region.quat), "size": numbers(region.half_m)}
    element(body, "site", name=region.name, type=region.kind, group="0", **placed, rgba=numbers(region.rgba))


def _mesh(asset: ET.Element, name: str, mesh: Triangles, places: list[tuple[float, float]]) -> None:
    vertices = " ".join(numbers(tuple(vertex)) for vertex in mesh.vertices_V3)
    faces = " ".join(str(corner) for corner in mesh.faces_F3.ravel())
    texture = " ".join(f"{u:.6g} {v:.6g}" for u, v in places)
    element(asset, "mesh", name=name, vertex=vertices, face=faces, texcoord=texture)


def _turned(frame: Quaternion, position: Vector3) -> Vector3:
    """A position of the standing frame in the frame of the body; exact for the only two attitudes there are."""
    x, y, z = position
    return (x, z, -y) if frame == _LYING else (x, y, z)
