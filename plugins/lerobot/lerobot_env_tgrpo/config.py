"""What `--env.type=tgrpo` takes: tasks of LIBERO or of one's own, played by tgrpo_envs in LeRobot's LIBERO form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import VectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.processor import LiberoProcessorStep, PolicyProcessorPipeline
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from tgrpo_envs.bridges.lerobot import IMAGES, make_vec
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.tasks import CUSTOM, list_tasks

STATE_SIZE = 8  # what LiberoProcessorStep makes: gripper position, axis-angle, fingers
FPS = 20  # control steps a second
CONTROLS = {"relative": "pose_delta", "absolute": "pose"}  # LeRobot's words for LIBERO's controller, and ours


@EnvConfig.register_subclass("tgrpo")
@dataclass
class TgrpoEnvConfig(EnvConfig):
    """LIBERO's tasks, in one process, with the observations of LeRobot's own ``--env.type=libero``.

    Attributes:
        task: A LIBERO suite, such as ``libero_object``, or ``custom`` with `bddl`.
        task_ids: Which of its tasks; None is all.
        bddl: Task file of one's own.
        init_states: ``official`` (LIBERO's 50, played in their order), ``heldout`` (in order) or ``train`` (drawn with
            the seed).
        image_size: Side of the pictures, pixels.
        episode_length: Limit in control steps; None is the suite's.
        assets: Asset pack: ``auto``, ``primitive``, ``libero`` or a folder.
        detail: ``exact`` draws LIBERO's pixels, ``fast`` reduced meshes without shadows.
        control_mode: ``relative`` actions or ``absolute`` poses, as of LeRobot's LIBERO.
        reward: What is summed as `sum_reward`: ``stages``, ``sparse`` or another of tgrpo_envs.
    """

    task: str | None = "libero_object"
    task_ids: list[int] | None = None
    bddl: str | None = None
    init_states: str = "official"
    image_size: int = 256
    episode_length: int | None = None
    assets: str = "auto"
    detail: str = "exact"
    control_mode: str = "relative"
    reward: str = "stages"
    fps: int = FPS
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps != FPS:
            raise ValueError(f"env.fps={self.fps}: LIBERO's control steps are {FPS} a second; leave it out.")
        if self.control_mode not in CONTROLS:
            raise ValueError(f"env.control_mode={self.control_mode!r} must be one of {', '.join(CONTROLS)}.")
        if self.task == CUSTOM and self.init_states == "official":
            self.init_states = "heldout"  # the official ones are LIBERO's
        picture = PolicyFeature(type=FeatureType.VISUAL, shape=(self.image_size, self.image_size, 3))
        self.features = {
            ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(ACTION_SIZE,)),
            OBS_STATE: PolicyFeature(type=FeatureType.STATE, shape=(STATE_SIZE,)),
            **{f"{OBS_IMAGES}.{name}": picture for name in IMAGES},
        }
        self.features_map = {name: name for name in self.features}

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of `gym.make_vec`."""
        own = {"bddl": self.bddl} if self.bddl is not None else {}
        return own | {
            "init_states": self.init_states,
            "image_size": self.image_size,
            "horizon": self.episode_length,
            "assets": self.assets,
            "detail": self.detail,
            "control": CONTROLS[self.control_mode],
            "reward": self.reward,
            "render_mode": "rgb_array",
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, VectorEnv]]:  # noqa: ARG002, FBT001, FBT002 - LeRobot's
        """A vector environment for each task; `use_async_envs` changes nothing, since threads play the members."""
        assert self.task is not None
        ids = self.task_ids
        if ids is None:
            ids = [0] if self.task == CUSTOM else [task.index for task in list_tasks(self.task)]
        return {self.task: {index: make_vec(self.task, n_envs, task=index, **self.gym_kwargs) for index in ids}}

    def get_env_processors(self) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
        """LeRobot's own for LIBERO, which turns pictures by 180 degrees and makes the state."""
        return PolicyProcessorPipeline(steps=[LiberoProcessorStep()]), PolicyProcessorPipeline(steps=[])
