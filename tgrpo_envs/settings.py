"""What a user may choose when making an environment, checked at the edge, and the spaces that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pydantic import field_validator, model_validator

from tgrpo_envs.arrays import integer, shown
from tgrpo_envs.assets import find_pack
from tgrpo_envs.bddl import in_file, parse_problem
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.perturbation import Perturbation, reworded
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.shared_settings import MAX_PICTURE_PX, REWARDS, Flag, SharedSettings, whole_or_none
from tgrpo_envs.sim.control import Control
from tgrpo_envs.tasks import CONTROL_HZ, Task, check_is_official, choose_task

ACTION_SIZE = 7
PROPRIO_SIZE = 12
CAMERAS = ("agentview", "wrist")
MAX_ACTION_SCALE = 10.0  # half a metre in a twentieth of a second
InitStateSet = Literal["train", "heldout", "official"]
INIT_STATE_SETS: tuple[InitStateSet, ...] = get_args(InitStateSet)


class EnvSettings(SharedSettings):
    """The keyword arguments of `gym.make` and `gym.make_vec`, validated.

    Numbers, truth values and names become Python's own, whatever library they come from. A perturbation may also be
    given whole: ``perturb=Perturbation("camera", 2, 0)``, or its fields in a dict. It is the same in every episode;
    where it depends on the initial state, equal states are changed equally. States of the caller's own are taken as
    they are.

    Raises:
        UnknownNameError: A name that does not exist, of a setting too.
        ConfigError: A value of another kind, or out of range.
        BddlError: A task file of the user's own is wrong; the message names its line.
    """

    task: int | str = 0
    """Index inside the suite, or the task's name."""
    init_states: InitStateSet = "train"
    """Where `reset` takes its states from: train = drawn from the BDDL regions with the environment's generator;
    heldout = a fixed list from the same regions; official = LIBERO's 50, which files of your own lack."""
    observe: Literal["pictures", "state", "state+pictures"] = "pictures"
    """pictures (and `proprio`); state (what the simulator knows of objects, regions, goal and stages as one vector,
    named by the environment's `state_layout`, and `proprio`; nothing is drawn); or state+pictures."""
    cameras: tuple[str, ...] = CAMERAS
    """Which cameras to observe: agentview, wrist, or any other of the scene, looked up when the scene is opened. An
    empty tuple draws nothing, and leaves a learner nothing but `proprio`, which says nothing about objects:
    ``observe="state"`` does. Detail off makes it empty."""
    render_size: Annotated[int | None, whole_or_none(16, MAX_PICTURE_PX)] = None
    """Height and width of what `render` returns, pixels; None = `image_size`."""
    depth: Flag = False
    """Whether to observe ``<camera>_depth`` too: (H, W) float32, metres along the camera's axis."""
    segmentation: Flag = False
    """Whether to observe ``<camera>_segmentation`` too: (H, W) int32, 0 for what is no object, 1 for the robot, then
    the scene's objects; `Simulator.segmentation_names` has the names."""
    control: Literal["pose_delta", "pose", "joint_delta", "joint"] = "pose_delta"
    """What an action asks of the arm: pose_delta (LIBERO's), pose, joint_delta or joint; see
    `tgrpo_envs.sim.control.Control`. Episodes settle by LIBERO's own, whatever this is."""
    action_scale: float = 1.0
    """Factor on the largest change that a ``_delta`` asks for."""
    gripper: Literal["signed", "binary"] = "signed"
    """The last number of an action: signed (-1 opens, 1 closes) or binary (1 opens, 0 closes)."""

    def __init__(self, suite: str, **settings: Any) -> None:
        super().__init__(**{"suite": suite, **settings})

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_drawn_for_nobody(cls, values: dict[str, Any]) -> dict[str, Any]:
        chosen = [value for name in ("observe", "detail") if isinstance(value := values.get(name), str)]
        return values | {"cameras": ()} if {"state", "off"} & set(chosen) else values

    @field_validator("task", mode="before")
    @classmethod
    def _index_or_name(cls, given: object) -> int | str:
        if (index := given if isinstance(given, str) else integer(given)) is None:
            raise ConfigError(f"task={shown(given)} must be the index of a task, a whole number, or its name.")
        return index

    @field_validator("cameras", mode="before")
    @classmethod
    def _names_of_cameras(cls, given: object) -> tuple[str, ...]:
        if isinstance(given, str):
            raise ConfigError(f"cameras={given!r} must be a tuple of names; write cameras=({given!r},).")
        names = tuple(given) if isinstance(given, Iterable) else (given,)
        if not all(isinstance(name, str) for name in names):
            raise ConfigError(f"cameras={shown(given)} must be a tuple of names.")
        return names

    @field_validator("action_scale", mode="before")
    @classmethod
    def _scale(cls, given: object) -> float:
        value = float(given) if isinstance(given, (int, float, np.floating, np.integer)) else np.nan
        if isinstance(given, bool) or not 0.0 < value <= MAX_ACTION_SCALE:
            raise ConfigError(f"action_scale={shown(given)} must be a number above 0, at most {MAX_ACTION_SCALE:g}.")
        return value

    @model_validator(mode="after")
    def _can_be_made(self) -> EnvSettings:
        task, pack = self.resolved_task, find_pack(self.assets)
        if self.bddl is not None:
            from tgrpo_envs.scene.task_file import check_task_file  # which loads MuJoCo

            with in_file(self.bddl):
                check_task_file(parse_problem(task.bddl), pack)
        for option in ("depth", "segmentation"):
            if getattr(self, option) and not self.cameras:
                raise ConfigError(
                    f"{option}=True needs a camera, and with observe={self.observe!r} and detail={self.detail!r} there "
                    "are none; give cameras, observe='pictures' or 'state+pictures', and another detail than 'off'."
                )
        if self.init_states == "official":
            check_is_official(task)
        self._check_a_kind_is_named()
        if self.reward_is_file and not Path(self.reward).is_file():
            raise UnknownNameError("reward (a name or the path of a .json specification)", self.reward, REWARDS)
        return self

    def _check_a_kind_is_named(self) -> None:
        """Refuse a level or seed of no perturbation. The usual ones pass: records of settings name every field."""
        for name in ("perturb_level", "perturb_seed"):
            value = getattr(self, name)
            if self.perturb is None and value != type(self).model_fields[name].default:
                raise ConfigError(
                    f"{name}={value} says which change of a kind, and perturb=None changes nothing; give "
                    "perturb='camera' or another kind too, or leave it out."
                )

    @cached_property
    def resolved_task(self) -> Task:
        """The task that these settings name."""
        return choose_task(self.suite, self.task, self.bddl)

    @property
    def instruction(self) -> str:
        """The sentence that a policy is given."""
        return reworded(self.resolved_task.instruction, self.perturbation)

    @property
    def episode_horizon(self) -> int:
        """Episode limit in control steps."""
        return self.resolved_task.horizon if self.horizon is None else self.horizon

    @property
    def frames_per_second(self) -> float:
        """Environment steps a second: the rate at which pictures of one step each play in real time."""
        return CONTROL_HZ / self.action_chunk

    @property
    def observes_state(self) -> bool:
        """Whether ``state`` is observed."""
        return self.observe != "pictures"

    def observation_space(self, state_size: int = 0) -> spaces.Dict:
        """One environment's observations: `picture_spaces`, proprioception (12,) and perhaps state, float32.

        Args:
            state_size: Numbers of the state, which the scene decides; 0 is none.
        """
        vectors = {"proprio": PROPRIO_SIZE} | ({"state": state_size} if state_size else {})
        boxes = {name: spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in vectors.items()}
        return spaces.Dict({**self.picture_spaces(), **boxes})

    def picture_spaces(self) -> dict[str, spaces.Box[Any]]:
        """Pictures, upright: colours (H, W, 3) uint8, and depth and segmentation (H, W) where they are wanted."""
        side = self.image_size
        pictures: dict[str, spaces.Box[Any]] = {}
        for camera in self.cameras:
            pictures[camera] = spaces.Box(0, 255, (side, side, 3), np.uint8)
            if self.depth:
                pictures[f"{camera}_depth"] = spaces.Box(0.0, np.inf, (side, side), np.float32)
            if self.segmentation:
                largest = np.iinfo(np.int32).max
                pictures[f"{camera}_segmentation"] = spaces.Box(0, largest, (side, side), np.int32)
        return pictures

    @cached_property
    def actions(self) -> Control:
        """How actions are read."""
        return Control(self.control, self.action_scale, self.gripper)

    def action_space(self) -> spaces.Box:
        """One environment's actions: (A,), or (action_chunk, A) when a step takes several control steps.

        A is 7, with joints 8.
        """
        bounds = np.array([self.actions.low, self.actions.high], dtype=np.float32)
        if self.action_chunk > 1:
            bounds = np.repeat(bounds[:, None], self.action_chunk, axis=1)
        return spaces.Box(bounds[0], bounds[1], dtype=np.float32)


def warn_of_blindness(settings: EnvSettings) -> None:
    """Say what to do where a learner would observe nothing of the objects, and did not ask for that by ``off``."""
    if not settings.cameras and not settings.observes_state and settings.detail != "off":
        _warn_once(
            'cameras=() leaves `proprio`, which says nothing about objects; observe="state" observes them too, and '
            'detail="off" says that nothing of them is wanted.'
        )


@cache
def _warn_once(text: str) -> None:
    """Once a process: Python forgets what it has shown whenever a library changes the filters of warnings."""
    gym.logger.warn("%s", text)


def check_render_mode(render_mode: str | None) -> str | None:
    """The render mode itself.

    Raises:
        ConfigError: ``human``, which is Gymnasium's window around a single environment.
        UnknownNameError: Neither None nor ``rgb_array``.
    """
    if render_mode == "human":
        raise ConfigError(
            'render_mode="human" is a window that gym.make puts around one environment, and needs pygame '
            "(pip install pygame) and a display; a vector environment has none, so use rgb_array and show "
            "env.render()."
        )
    if render_mode not in (None, "rgb_array"):
        raise UnknownNameError("render mode", render_mode, ("rgb_array",))
    return render_mode


def as_json(keywords: dict[str, Any]) -> dict[str, Any]:
    """The same keyword arguments in values that JSON has, which `EnvSettings` takes as well."""

    def convert(value: Any) -> Any:
        if isinstance(value, CreditProfile):
            return value.model_dump()
        if isinstance(value, Perturbation):
            return asdict(value)
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, Mapping):
            return {name: convert(item) for name, item in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(convert(item) for item in value)
        if isinstance(value, (range, set, frozenset)):
            return [convert(item) for item in value]
        if hasattr(value, "tolist"):  # arrays, their numbers, and tensors of other libraries
            return value.tolist()
        return str(value) if isinstance(value, Path) else value

    return {name: convert(value) for name, value in keywords.items()}
