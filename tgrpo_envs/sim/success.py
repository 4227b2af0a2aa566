"""LIBERO's definition of success, vectorised over environments and with its quirks.

The predicates are those of libero/libero/envs/predicates/base_predicates.py, which forward to the object states in
libero/libero/envs/object_states/base_object_states.py and to SiteObject in libero/libero/envs/objects/site_object.py.
Quirks are part of the benchmark and stay: nothing asks whether the object was released, a container's box shrinks when
it is turned, zones of a table need no contact. Each is named where it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tgrpo_envs.errors import SceneError
from tgrpo_envs.sim.snapshot import NO_PARENT, BoolArray, FloatArray, Snapshot, SnapshotLayout

ON_OBJECT_RADIUS = 0.03  # metres between the centres of an object and what it stands on
BOX_BOTTOM_SLACK = 0.01  # metres added below a region's box
ZONE_BELOW = 0.005  # metres below a region's upper face that still count as on it
ZONE_ABOVE = 0.10  # metres above it

STOVE_ON = 0.5  # radians of the knob from which a stove's burner is on, and shown

# Joint positions from which LIBERO calls a fixture open, closed, on or off (articulated_objects.py); metres for
# drawers, radians for doors and knobs.
Comparison = tuple[Literal["<", ">", ">="], float]
JOINT_TESTS: Mapping[str, Mapping[str, Comparison]] = {
    "open": {
        "microwave": ("<", -1.3),
        "wooden_cabinet": ("<", -0.14),
        "white_cabinet": ("<", -0.14),
        "short_cabinet": (">", 0.10),
        "short_fridge": (">", 2.0),
    },
    "close": {
        "microwave": (">", -0.005),
        "wooden_cabinet": (">", 0.0),
        "white_cabinet": (">", 0.0),
        "short_cabinet": ("<", 0.0),
        "short_fridge": ("<", 0.0),
    },
    "turnon": {"flat_stove": (">=", STOVE_ON)},
    "turnoff": {"flat_stove": ("<", 0.0)},
}
ANY_JOINT = {"open", "turnon"}  # the other two ask for all joints


@dataclass(frozen=True)
class Conjunct:
    """One predicate of a goal with its names resolved to rows of the snapshot.

    Attributes:
        predicate: ``in``, ``on``, ``open``, ``close``, ``turnon`` or ``turnoff``.
        object_row: The first argument of ``in`` and ``on``, else -1.
        site_row: The region in question, or -1 where it is an object.
        support_row: The object in question for ``on`` an object, or the region's carrier, or -1.
        joints: Rows of the joints in question.
        test: Comparison that a joint must pass.
    """

    predicate: str
    object_row: int = -1
    site_row: int = -1
    support_row: int = -1
    joints: tuple[int, ...] = ()
    test: Comparison | None = None


Goal = tuple[Conjunct, ...]


def compile_goal(
    conjuncts: tuple[tuple[str, ...], ...],
    layout: SnapshotLayout,
    categories: Mapping[str, str],
    site_joints: Mapping[str, tuple[str, ...]],
) -> Goal:
    """Resolve a goal's names once.

    Args:
        conjuncts: Predicates as BDDL gives them, lower-case.
        layout: Rows of the scene's snapshots.
        categories: Category of each object and fixture.
        site_joints: Names of the joints of each site's body.

    Raises:
        SceneError: A predicate or a category that LIBERO's benchmark does not use in this place.
    """
    return tuple(_conjunct(entry, layout, categories, site_joints) for entry in conjuncts)


def goal_truth(goal: Goal, layout: SnapshotLayout, snapshot: Snapshot) -> BoolArray:
    """Truth of each conjunct in each environment.

    Args:
        goal: From `compile_goal`.
        layout: Rows of the snapshot.
        snapshot: The state, as LIBERO would read it at this moment.

    Returns:
        (N, C) booleans; LIBERO's success is their conjunction over C.
    """
    truth_NC = np.empty((len(snapshot.object_pos_NO3), len(goal)), dtype=bool)
    for column, conjunct in enumerate(goal):
        truth_NC[:, column] = _truth(conjunct, layout, snapshot)
    return truth_NC


def _conjunct(
    entry: tuple[str, ...],
    layout: SnapshotLayout,
    categories: Mapping[str, str],
    site_joints: Mapping[str, tuple[str, ...]],
) -> Conjunct:
    predicate, *names = entry
    if predicate == "in" and names[1] in layout.sites:
        return Conjunct(predicate, layout.object_row(names[0]), layout.site_row(names[1]))
    if predicate == "on":
        row = layout.object_row(names[0])
        if names[1] not in layout.sites:
            return Conjunct(predicate, row, support_row=layout.object_row(names[1]))
        site = layout.site_row(names[1])
        return Conjunct(predicate, row, site, int(layout.site_parents_S[site]))
    if predicate in JOINT_TESTS:
        owner, joints = _owner_and_joints(names[0], layout, site_joints)
        category = categories[layout.objects[owner]]
        if category in JOINT_TESTS[predicate]:
            return Conjunct(predicate, joints=joints, test=JOINT_TESTS[predicate][category])
    raise SceneError(f"The goal ({' '.join(entry)}) uses a predicate that LIBERO does not define for it.")


def _owner_and_joints(
    name: str, layout: SnapshotLayout, site_joints: Mapping[str, tuple[str, ...]]
) -> tuple[int, tuple[int, ...]]:
    """A region speaks for the joints of its own body, an object for all of its joints."""
    if name in layout.sites:
        rows = tuple(layout.joints.index(joint) for joint in site_joints[name] if joint in layout.joints)
        return int(layout.site_parents_S[layout.site_row(name)]), rows
    owner = layout.object_row(name)
    return owner, tuple(int(row) for row in np.flatnonzero(layout.joint_objects_J == owner))


def _truth(conjunct: Conjunct, layout: SnapshotLayout, snapshot: Snapshot) -> BoolArray:
    if conjunct.test is not None:
        return _joints_pass(conjunct, snapshot)
    pos_N3 = snapshot.object_pos_NO3[:, conjunct.object_row]
    if conjunct.predicate == "in":
        return _in_box(conjunct, layout, snapshot, pos_N3)
    if conjunct.site_row < 0:
        return _on_object(conjunct, snapshot, pos_N3)
    on_N = _on_site(conjunct, layout, snapshot, pos_N3)
    if conjunct.support_row == NO_PARENT:
        return on_N  # quirk: a zone of the table needs no contact, so a held object may count
    return on_N & snapshot.contact_NOO[:, conjunct.object_row, conjunct.support_row]


def _in_box(conjunct: Conjunct, layout: SnapshotLayout, snapshot: Snapshot, pos_N3: FloatArray) -> BoolArray:
    """SiteObject.in_box. Quirk: |R s| instead of |R| s, so the box collapses as its carrier turns by 45 degrees."""
    site = conjunct.site_row
    centre_N3 = snapshot.site_pos_NS3[:, site]
    extent_N3 = np.abs(snapshot.site_mat_NS33[:, site] @ layout.site_half_sizes_S3[site])
    low_N3 = centre_N3 - extent_N3
    low_N3[:, 2] -= BOX_BOTTOM_SLACK
    inside: BoolArray = np.logical_and.reduce((pos_N3 > low_N3) & (pos_N3 < centre_N3 + extent_N3), axis=1)
    return inside


def _on_site(conjunct: Conjunct, layout: SnapshotLayout, snapshot: Snapshot, pos_N3: FloatArray) -> BoolArray:
    """SiteObject.under. Quirk: R instead of its transpose, the same only at yaw 0 and pi."""
    site = conjunct.site_row
    size = layout.site_half_sizes_S3[site]
    delta_N3 = np.einsum("nij,nj->ni", snapshot.site_mat_NS33[:, site], pos_N3 - snapshot.site_pos_NS3[:, site])
    height_N = delta_N3[:, 2]
    level_N = (size[2] - ZONE_BELOW < height_N) & (height_N < size[2] + ZONE_ABOVE)
    on_N: BoolArray = level_N & (np.abs(delta_N3[:, :2]) < size[:2]).all(axis=1)
    return on_N


def _on_object(conjunct: Conjunct, snapshot: Snapshot, pos_N3: FloatArray) -> BoolArray:
    """ObjectState.check_ontop: not below, touching, centres close."""
    support_N3 = snapshot.object_pos_NO3[:, conjunct.support_row]
    distance_N = np.linalg.norm(support_N3[:, :2] - pos_N3[:, :2], axis=1)
    touching_N = snapshot.contact_NOO[:, conjunct.object_row, conjunct.support_row]
    on_N: BoolArray = (support_N3[:, 2] <= pos_N3[:, 2]) & touching_N & (distance_N < ON_OBJECT_RADIUS)
    return on_N


def passes_test(test: Comparison, qpos: FloatArray) -> BoolArray:
    """Whether each joint position passes LIBERO's comparison."""
    sense, bound = test
    passes: BoolArray = qpos < bound if sense == "<" else qpos > bound if sense == ">" else qpos >= bound
    return passes


def _joints_pass(conjunct: Conjunct, snapshot: Snapshot) -> BoolArray:
    """Quirk: without joints nothing is ever open or on, and everything is closed and off."""
    assert conjunct.test is not None
    qpos_NJ = snapshot.joint_qpos_NJ[:, list(conjunct.joints)]
    passes_NJ = passes_test(conjunct.test, qpos_NJ)
    combine = np.logical_or if conjunct.predicate in ANY_JOINT else np.logical_and
    result: BoolArray = combine.reduce(passes_NJ, axis=1)
    return result
