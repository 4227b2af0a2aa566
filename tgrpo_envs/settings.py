"""What a user may choose when making an environment, checked at the edge, and the spaces that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pydantic import ValidationError

from tgrpo_envs.arrays import flag, integer, shown, whole_number
from tgrpo_envs.assets import find_pack
from tgrpo_envs.bddl import in_file, parse_problem
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.perturbation import Perturbation, parse_perturbation, reworded
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.sim.control import CONTROLS, GRIPPERS, Control
from tgrpo_envs.tasks import Task, check_is_official, choose_task

ACTION_SIZE = 7
PROPRIO_SIZE = 12
CAMERAS = ("agentview", "wrist")
OBSERVES = ("pictures", "state", "state+pictures")
DETAILS = ("fast", "exact", "off")
INIT_STATE_SETS = ("train", "heldout", "official")
FIXTURE_POSES = ("default", "per_episode")
REWARDS = ("stages", "llm", "compiled", "sparse")
WHOLE_NUMBERS = {  # the smallest and the largest that is allowed
    "image_size": (16, 1024),  # pixels a side
    "render_size": (16, 1024),
    "action_chunk": (1, 64),  # control steps in one environment step
    "horizon": (1, 100_000),
    "num_threads": (1, 1024),
}
MAY_BE_NONE = ("render_size", "horizon", "num_threads")
MAX_ACTION_SCALE = 10.0  # half a metre in a twentieth of a second
FLAGS = ("depth", "segmentation", "unchecked_reward")


@dataclass(frozen=True)
class EnvSettings:
    """The keyword arguments of `gym.make` and `gym.make_vec`, validated.

    Attributes:
        suite: LIBERO suite, or ``custom``, fixed by the environment id.
        task: Index inside the suite, or the task's name.
        bddl: Task file of your own, for the suite ``custom``: it is read once, and what is wrong with it is named with
            its line.
        assets: Asset pack: ``auto``, ``primitive``, ``libero`` or a folder.
        init_states: Where `reset` takes its states from: ``train`` (drawn from the BDDL regions with the environment's
            generator), ``heldout`` (a fixed list from the same regions) or ``official`` (LIBERO's 50, which files of
            your own lack).
        fixture_poses: Where cabinets, stoves and the like stand. ``default``: as the set of states says, drawn with the
            rest of ``train`` and ``heldout`` states, at the centre of their regions in ``official`` ones, whose files
            do not say. ``per_episode``: drawn anew for every episode, whatever the set.
        reward: ``stages`` (a language model's stages where they passed their certificate, else the compiler's),
            ``llm``, ``compiled``, ``sparse`` (1 on success) or the path of a stage specification in JSON.
        unchecked_reward: Take a stage specification although it is for another task or has lint errors.
        credit: How progress through the stages is paid, as a `CreditProfile` or its fields in a dict; None takes the
            default one.
        image_size: Height and width of the camera images, pixels.
        render_size: Height and width of what `render` returns, pixels; None takes `image_size`.
        observe: ``pictures`` (and `proprio`), ``state`` (what the simulator knows of objects, regions, goal and stages
            as one vector, named by the environment's `state_layout`, and `proprio`; OpenGL is never opened), or
            ``state+pictures``.
        cameras: Which cameras to observe: ``agentview``, ``wrist`` or any other of the scene, looked up when the scene
            is opened. An empty tuple never opens OpenGL, and leaves a learner nothing but `proprio`, which says
            nothing about objects: ``observe="state"`` does.
        detail: ``fast`` draws reduced meshes without shadows, ``exact`` LIBERO's pixels, ``off`` nothing: then
            `cameras` becomes empty.
        depth: Whether to observe ``<camera>_depth`` too: (H, W) float32, metres along the camera's axis.
        segmentation: Whether to observe ``<camera>_segmentation`` too: (H, W) int32, 0 for what is no object, 1 for
            the robot, then the scene's objects; `Simulator.segmentation_names` has the names.
        action_chunk: Control steps (20 Hz) in one environment step.
        control: What an action asks of the arm: ``pose_delta`` (LIBERO's), ``pose``, ``joint_delta`` or ``joint``; see
            `tgrpo_envs.sim.control.Control`. Episodes settle by LIBERO's own, whatever this is.
        action_scale: Factor on the largest change that a ``_delta`` asks for.
        gripper: The last number of an action: ``signed`` (-1 opens, 1 closes) or ``binary`` (1 opens, 0 closes).
        horizon: Episode limit in control steps; None takes the suite's (520 for a file of your own).
        num_threads: Simulation threads; None takes one per environment, at most one per core.
        perturb: What is changed of the task: None, a `Perturbation`, its kind alone, or its fields in a dict. It is the
            same in every episode; where it depends on the initial state, equal states are changed equally. States of
            the caller's own are taken as they are.
        resolved_task: The task that these settings name.
    """

    suite: str
    task: int | str = 0
    assets: str | Path = "auto"
    init_states: str = "train"
    fixture_poses: str = "default"
    reward: str | Path = "stages"
    credit: CreditProfile | None = None
    image_size: int = 128
    cameras: tuple[str, ...] = CAMERAS
    action_chunk: int = 1
    horizon: int | None = None
    num_threads: int | None = None
    detail: Literal["fast", "exact", "off"] = "fast"
    depth: bool = False
    segmentation: bool = False
    unchecked_reward: bool = False
    observe: Literal["pictures", "state", "state+pictures"] = "pictures"
    render_size: int | None = None
    bddl: str | Path | None = None
    control: Literal["pose_delta", "pose", "joint_delta", "joint"] = "pose_delta"
    action_scale: float = 1.0
    gripper: Literal["signed", "binary"] = "signed"
    perturb: Perturbation | None = None
    resolved_task: Task = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in self._plain_values().items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "resolved_task", self._find_task())
        _one_of("detail", self.detail, DETAILS)
        _one_of("kind of observation (observe)", self.observe, OBSERVES)
        if self.detail == "off" or self.observe == "state":
            object.__setattr__(self, "cameras", ())
        for option in ("depth", "segmentation"):
            if getattr(self, option) and not self.cameras:
                raise ConfigError(f"{option}=True needs a camera; give cameras, and another detail than 'off'.")
        _one_of("kind of control", self.control, CONTROLS)
        _one_of("kind of gripper", self.gripper, GRIPPERS)
        object.__setattr__(self, "action_scale", _scale(self.action_scale))
        _one_of("set of initial states", self.init_states, INIT_STATE_SETS)
        if self.init_states == "official":
            check_is_official(self.resolved_task)
        _one_of("kind of fixture poses", self.fixture_poses, FIXTURE_POSES)
        if self.reward_is_file and not Path(self.reward).is_file():
            raise UnknownNameError("reward (a name or the path of a .json specification)", self.reward, REWARDS)
        object.__setattr__(self, "credit", _credit(self.credit))
        object.__setattr__(self, "perturb", parse_perturbation(self.perturb))

    def _find_task(self) -> Task:
        """The task, of a user's own file only if the assets have what it asks for."""
        pack = find_pack(self.assets)
        task = choose_task(self.suite, self.task, self.bddl)
        if self.bddl is not None:
            from tgrpo_envs.scene.task_file import check_task_file  # which loads MuJoCo

            with in_file(self.bddl):
                check_task_file(parse_problem(task.bddl), pack)
        return task

    def _plain_values(self) -> dict[str, Any]:
        """Numbers, truth values and names as Python's own, whatever library they came from.

        Raises:
            ConfigError: One is of another kind, or out of range.
        """
        if isinstance(self.cameras, str):
            raise ConfigError(f"cameras={self.cameras!r} must be a tuple of names; write cameras=({self.cameras!r},).")
        cameras = tuple(self.cameras) if isinstance(self.cameras, Iterable) else (self.cameras,)
        if not all(isinstance(name, str) for name in cameras):
            raise ConfigError(f"cameras={shown(self.cameras)} must be a tuple of names.")
        for name in ("assets", "reward"):
            if not isinstance(getattr(self, name), str | Path):
                raise ConfigError(f"{name}={shown(getattr(self, name))} must be a name or a path.")
        values: dict[str, Any] = {"cameras": cameras}
        values |= {name: flag(name, getattr(self, name)) for name in FLAGS}
        if (index := integer(self.task)) is not None:
            values["task"] = index
        for name, bounds in WHOLE_NUMBERS.items():
            if getattr(self, name) is not None or name not in MAY_BE_NONE:
                values[name] = whole_number(name, getattr(self, name), *bounds)
        return values

    @property
    def reward_is_file(self) -> bool:
        """Whether `reward` is the path of a specification."""
        return self.reward not in REWARDS

    @property
    def instruction(self) -> str:
        """The sentence that a policy is given."""
        return reworded(self.resolved_task.instruction, self.perturb)

    @property
    def episode_horizon(self) -> int:
        """Episode limit in control steps."""
        return self.resolved_task.horizon if self.horizon is None else self.horizon

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
    if render_mode is not None:
        _one_of("render mode", render_mode, ("rgb_array",))
    return render_mode


def as_json(keywords: dict[str, Any]) -> dict[str, Any]:
    """The same keyword arguments in values that JSON has, which `EnvSettings` takes as well."""

    def convert(value: Any) -> Any:
        if isinstance(value, CreditProfile):
            return value.model_dump()
        if isinstance(value, Perturbation):
            return asdict(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, (tuple, list)):
            return type(value)(convert(item) for item in value)
        return str(value) if isinstance(value, Path) else value

    return {name: convert(value) for name, value in keywords.items()}


def _credit(given: object) -> CreditProfile | None:
    if given is None or isinstance(given, CreditProfile):
        return given
    try:
        return CreditProfile.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        raise ConfigError(
            f"credit={given!r} must be a CreditProfile, such as CreditProfile(beta=0.3), or its fields in a dict"
            f" ({place + ': ' if place else ''}{wrong['msg']})."
        ) from error


def _scale(given: object) -> float:
    value = float(given) if isinstance(given, (int, float, np.floating, np.integer)) else np.nan
    if isinstance(given, bool) or not 0.0 < value <= MAX_ACTION_SCALE:
        raise ConfigError(f"action_scale={shown(given)} must be a number above 0, at most {MAX_ACTION_SCALE:g}.")
    return value


def _one_of(kind: str, got: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(got, str) or got not in allowed:
        raise UnknownNameError(kind, got, allowed)
