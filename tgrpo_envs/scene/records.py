"""What a built scene knows about its model, as validated JSON: names, ids, sizes, and the rules that place things."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

FORMAT_VERSION = 10  # raise it when a record or the way the model is compiled changes

Vector = tuple[float, ...]
Interval = tuple[float, float]
PlacementKind = Literal["region", "site", "in_site", "object"]


class Record(BaseModel):
    """Base of the records: immutable, and closed so that a file of another format version fails loudly."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ObjectRecord(Record):
    """A movable object or a fixture.

    Attributes:
        name: BDDL instance.
        category: BDDL category.
        body: Id of its root body.
        geoms: Ids of the geoms robosuite counts as contact geoms.
        qpos_address: Where its free joint starts in qpos; None for fixtures.
        bottom: Height of its lowest point over the root body, metres (negative).
        top: Height of its highest point.
        radius: Horizontal radius that LIBERO's sampler keeps free.
    """

    name: str
    category: str
    body: int
    geoms: tuple[int, ...]
    qpos_address: int | None
    bottom: float
    top: float
    radius: float


class SiteRecord(Record):
    """A region goals may name.

    Attributes:
        name: Full region name.
        site: Id of the site.
        half_size: Half extents of its box, metres, as LIBERO's SiteObject holds them.
        parent: Object that carries it, or None for a zone of the table or floor.
        joints: Joints of the body that carries it.
    """

    name: str
    site: int
    half_size: tuple[float, float, float]
    parent: str | None
    joints: tuple[str, ...]


class JointRecord(Record):
    """A hinge or slide of a fixture; `object` owns it, `qpos_address` is its place in qpos."""

    name: str
    object: str
    qpos_address: int


class RobotRecord(Record):
    """The Panda; ids of the model, lengths in metres, angles in radians.

    Attributes:
        init_qpos: Arm and finger joints at reset.
        eef_pos: Grip site at reset.
        eef_mat: Its rotation matrix, row by row.
        torque_low: Limits of the arm joints, newton metres.
        torque_high: Limits of the arm joints, newton metres.
        finger_range: (low, high) of each finger's target.
        grip_site: Id of the site the controller moves.
        pad_geoms: Geoms of the left and of the right finger pad.
        gripper_geoms: All geoms of hand and fingers.
    """

    init_qpos: Vector
    eef_pos: Vector
    eef_mat: Vector
    torque_low: Vector
    torque_high: Vector
    finger_range: tuple[Interval, Interval]
    grip_site: int
    pad_geoms: tuple[tuple[int, ...], tuple[int, ...]]
    gripper_geoms: tuple[int, ...]


class PlacementRecord(Record):
    """One of LIBERO's placement samplers, in the order they run (libero/libero/envs/regions).

    Attributes:
        object: What is placed.
        kind: ``region`` on the table or floor, ``site`` on a site of something placed, ``in_site`` inside one,
            ``object`` on top of another object.
        x_ranges: Intervals, one of which is drawn; relative to the reference, metres.
        y_ranges: Likewise.
        rotations: (axis, low, high) in radians, applied in order.
        scalar_first: Whether the quaternion drawn is (w, x, y, z). Most of LIBERO's samplers draw (x, y, z, w) and
            MuJoCo then reads it as (w, x, y, z); the categories' rotation ranges are made for that.
        single_precision: LIBERO multiplies several rotations in single precision.
        inset: Whether the intervals shrink by the object's radius.
        checked: Whether placements that overlap earlier ones are drawn again.
        origin: Reference point of kind ``region``, metres.
        z_offset: Added to the height, metres.
        reference: Object that carries it, for the other kinds.
        site: Site of the reference, for ``site`` and ``in_site``.
    """

    object: str
    kind: PlacementKind
    x_ranges: tuple[Interval, ...]
    y_ranges: tuple[Interval, ...]
    rotations: tuple[tuple[Literal["x", "y", "z"], float, float], ...]
    scalar_first: bool
    single_precision: bool
    inset: bool
    checked: bool
    origin: tuple[float, float, float]
    z_offset: float
    reference: str | None
    site: str | None


class JointRangeRecord(Record):
    """Joints that a reset draws from an interval, one draw for all of them (``open``, ``turnon``, ... in ``:init``)."""

    joints: tuple[str, ...]
    low: float
    high: float


class SceneRecord(Record):
    """Everything beside the compiled model; see the other records.

    Attributes:
        versions: Versions of mujoco, hf-libero and robosuite it was built with.
        model_sha256: Digest of the file of the model that is simulated, so that a damaged one is noticed.
        drawn_sha256: Digest of the file of the one that is drawn at detail ``fast``.
        exact_sha256: Digest of the file of LIBERO's whole model.
        visible_sites: Sites of fixtures that LIBERO shows while the fixture is on (the stove's burner).
    """

    format_version: int
    suite: str
    task: str
    pack_name: str
    pack_digest: str
    versions: dict[str, str]
    model_sha256: str
    drawn_sha256: str
    exact_sha256: str
    bddl: str
    objects: tuple[ObjectRecord, ...]
    sites: tuple[SiteRecord, ...]
    joints: tuple[JointRecord, ...]
    robot: RobotRecord
    joint_ranges: tuple[JointRangeRecord, ...]
    placements: tuple[PlacementRecord, ...]
    visible_sites: dict[str, tuple[int, ...]]
