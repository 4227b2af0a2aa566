"""A perturbation by things that the task has nothing to do with: the scene is built anew from a file that has them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tgrpo_envs.assets import find_pack
from tgrpo_envs.bddl import Problem
from tgrpo_envs.errors import AssetError, SceneError
from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene.perturb.overlap import OverlapMeter
from tgrpo_envs.scene.records import ObjectRecord
from tgrpo_envs.scene.sampler import StateSampler
from tgrpo_envs.scene.scene import Scene, load_scene
from tgrpo_envs.scene.task_file import WORKSPACES
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.snapshot import FloatArray

COUNTS = (1, 2, 4)  # things to add, by level
# Small, upright, in both packs, and none like another.
CATEGORIES = (
    "alphabet_soup",
    "bbq_sauce",
    "butter",
    "chocolate_pudding",
    "cookies",
    "cream_cheese",
    "glazed_rim_porcelain_ramekin",
    "ketchup",
    "milk",
    "moka_pot",
    "orange_juice",
    "salad_dressing",
    "tomato_sauce",
)
ZONE = "perturbation_zone"
HALF_X_M, HALF_Y_M = 0.22, 0.35  # of the zone, around the middle of the table
CLEARANCE_M = 0.06  # around zones of the goal
_AWAY_M = 10.0
_DRAWS = 500


def load_with_distractors(scene: Scene, assets: str | Path, perturbation: Perturbation) -> Scene:
    """The task's scene with things added, built by LIBERO on first use.

    Raises:
        AssetError: The pack has too few things that the scene has not.
        SceneError: LIBERO found no room for them.
    """
    problem = scene.problem
    free = sorted(set(CATEGORIES) & set(find_pack(assets).contents) - set(problem.objects.values()))
    count = int(perturbation.at_level(*COUNTS))
    if len(free) < count:
        raise AssetError(
            f"{scene.task.name} lacks only {len(free)} of the things that could be added, and {count} are needed; "
            "take a lower level."
        )
    chosen = perturbation.rng().permutation(free)[:count]  # a higher level adds to those of a lower one
    crowded = replace(scene.task, bddl=_with_things(scene.record.bddl, problem, [str(name) for name in chosen]))
    return replace(load_scene(crowded, assets), task=scene.task)


def place_distractors(states: InitStates, scene: Scene, crowded: Scene, perturbation: Perturbation) -> InitStates:
    """The states in the crowded scene: everything where it was, and the added things wherever there is room.

    Raises:
        SceneError: There was none.
    """
    own = {entry.name for entry in scene.record.objects}
    added = [entry for entry in crowded.record.objects if entry.name not in own]
    sampler, meter = StateSampler(crowded, whole_regions=True), OverlapMeter(crowded)
    rows = []
    for known_X, fixtures_F7 in zip(states.states_NX, states.fixtures_NF7, strict=True):
        digest = hashlib.sha256(known_X.tobytes() + fixtures_F7.tobytes()).digest()
        rng = perturbation.rng(int.from_bytes(digest[:8], "little"))
        meter.put_fixtures(fixtures_F7)
        state_X = _in_crowd(known_X, scene, crowded)
        for place, entry in enumerate(added):  # out of each other's way, until they are placed
            state_X[1 + (entry.qpos_address or 0)] = _AWAY_M * (1 + place)
        for entry in added:
            for _ in range(_DRAWS):
                drawn_X = sampler.draw_beside(state_X, fixtures_F7, entry.name, rng)
                if drawn_X is None or _is_in_goal_zone(drawn_X, entry, crowded):
                    continue
                qpos = drawn_X[1 : 1 + crowded.model.nq]  # a view
                if (stood := meter.set_down(qpos, entry)) is not None:
                    qpos[:] = stood
                    state_X = drawn_X
                    break
            else:
                raise SceneError(f"{scene.task.name}: no room for {entry.name}; take a lower level or another seed.")
        rows.append(state_X)
    return InitStates(np.stack(rows), states.fixtures_NF7.copy())


def _with_things(text: str, problem: Problem, categories: Sequence[str]) -> str:
    """The task file with one thing of each category, placed last and anywhere on the table or floor.

    Comments are left out: what they hold may look like a section.
    """
    text = re.sub(r";[^\n]*", "", text)
    workspace = WORKSPACES[problem.name]
    x, y = min(HALF_X_M, workspace.half_x - 0.1), min(HALF_Y_M, workspace.half_y - 0.1)
    zone = f"({ZONE} (:target {workspace.name}) (:ranges (({-x} {-y} {x} {y}))))"
    text = _inserted(text, ":regions", zone)
    text = _inserted(text, ":objects", "\n".join(f"{category}_1 - {category}" for category in categories))
    return _inserted(text, ":init", "\n".join(f"(On {category}_1 {workspace.name}_{ZONE})" for category in categories))


def _inserted(text: str, section: str, words: str) -> str:
    """The file with words at the end of a section, whose brackets are known to match."""
    start = re.search(rf"\(\s*{section}\b", text, re.IGNORECASE)
    assert start is not None  # objects stand on a region
    depth = 0
    for token in re.finditer(r"[()]", text[start.start() :]):
        depth += 1 if token.group() == "(" else -1
        if depth == 0:
            end = start.start() + token.start()
            return f"{text[:end]}\n{words}\n{text[end:]}"
    raise AssertionError(section)


def _in_crowd(state_X: FloatArray, scene: Scene, crowded: Scene) -> FloatArray:
    """Every joint of the scene as it is, by its name, in the numbers of the crowded scene."""
    here, there = scene.model, crowded.model
    qpos, qvel = there.qpos0.copy(), np.zeros(there.nv)
    for number in range(here.njnt):
        own = here.joint(number)
        other = there.joint(own.name)
        for values, first, start, width in (
            (qpos, 1 + own.qposadr[0], other.qposadr[0], len(own.qpos0)),
            (qvel, 1 + here.nq + own.dofadr[0], other.dofadr[0], len(own.damping)),
        ):
            values[start : start + width] = state_X[first : first + width]
    return np.concatenate([state_X[:1], qpos, qvel])


def _is_in_goal_zone(state_X: FloatArray, entry: ObjectRecord, scene: Scene) -> bool:
    """Whether a thing stands in or near a zone of the table that the goal names."""
    assert entry.qpos_address is not None
    regions = scene.problem.regions
    zones = [regions[name] for conjunct in scene.problem.goal for name in conjunct[1:] if name in regions]
    origin_2 = np.array(scene.record.placements[0].origin[:2])
    x, y = state_X[1 + entry.qpos_address : 3 + entry.qpos_address] - origin_2
    return any(
        x0 - CLEARANCE_M < x < x1 + CLEARANCE_M and y0 - CLEARANCE_M < y < y1 + CLEARANCE_M
        for zone in zones
        for x0, y0, x1, y1 in zone.ranges
    )
