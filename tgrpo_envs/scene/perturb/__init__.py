"""A task's scene and initial states as a perturbation has them; without one, as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene.perturb.distractors import load_with_distractors, place_distractors
from tgrpo_envs.scene.perturb.layout import LayoutMover
from tgrpo_envs.scene.perturb.looks import LOOKS, looked_at
from tgrpo_envs.scene.perturb.robot import bend_arm, moved_robot
from tgrpo_envs.scene.scene import Scene, load_scene
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.tasks import Task

__all__ = ["Setting", "load_setting"]


@dataclass(frozen=True)
class Setting:
    """Where a task is posed.

    Attributes:
        unperturbed: The task's scene, which sets of initial states are of.
        scene: The one to play in.
        perturb: States of the first, one row or many, to those to begin with in the second; equal ones stay equal.
    """

    unperturbed: Scene
    scene: Scene
    perturb: Callable[[InitStates], InitStates]


def load_setting(task: Task, assets: str | Path, perturbation: Perturbation | None) -> Setting:
    """The scene of a task under a perturbation, or as it is; built on first use, like any scene.

    Raises:
        AssetError: See `load_scene`; or the pack has too few objects to add.
        SceneError: The scene cannot be built, or leaves no room for the change.
    """
    scene = load_scene(task, assets)
    if perturbation is None or perturbation.kind == "wording":
        return Setting(scene, scene, _same)
    if perturbation.kind in LOOKS:
        return Setting(scene, looked_at(scene, perturbation), _same)
    if perturbation.kind == "robot":
        moved = moved_robot(scene, perturbation)
        return Setting(scene, moved, lambda states: bend_arm(states, scene, moved))
    if perturbation.kind == "layout":
        return Setting(scene, scene, LayoutMover(scene, perturbation).move)
    crowded = load_with_distractors(scene, assets, perturbation)
    return Setting(scene, crowded, lambda states: place_distractors(states, scene, crowded, perturbation))


def _same(states: InitStates) -> InitStates:
    return states
