"""What can be chosen of a SmolVLA: its checkpoints leave it open, or call it otherwise."""

from __future__ import annotations

from pydantic import Field

from tgrpo_envs.base_settings import Settings

AGENTVIEW, WRIST = "observation.images.image", "observation.images.image2"
"""LeRobot's names of LIBERO's cameras."""


class SmolVlaConfig(Settings):
    """How a SmolVLA sees and draws its actions (policy.kind smolvla); docs/smolvla.md has the equations."""

    noise_level: float = Field(default=1.0, gt=0)
    """Noise of the sampled steps from noise to action: sigma = level * sqrt(t); greedy actions have none."""
    num_steps: int | None = Field(default=None, ge=1)
    """Steps from noise to action; None = the checkpoint's, 10 of the published ones."""
    agentview: str = AGENTVIEW
    """What the checkpoint calls the camera that looks at the scene; see input_features in its config.json."""
    wrist: str = WRIST
    """What it calls the camera on the gripper."""


class SmolVlaSettings(SmolVlaConfig):
    """The same of one policy, as a run saves it beside LeRobot's files."""

    image_size: int = Field(default=256, ge=16)
    """Side of the environment's pictures in pixels (LIBERO's data: 256)."""
    action_chunk: int = Field(default=10, ge=1)
    """Control steps a decision, at most those that the model predicts."""
