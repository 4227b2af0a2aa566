"""What can be chosen of a new nano policy, and what was chosen of a saved one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from tgrpo_envs.base_settings import Settings
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.json_files import read_object


class NanoSettings(Settings):
    """A new policy of kind nano, whose actions are tokens."""

    num_bins: int = Field(default=21, ge=2)
    """Values each action number can take."""
    bin_power: float = Field(default=1.0, gt=0)
    """1 = evenly spaced values; above 1 they lie denser around 0."""
    steps_per_token: int = Field(default=1, ge=1)
    """Control steps for which it holds each action; divides env.action_chunk."""


class NanoGaussianSettings(Settings):
    """A new policy of kind nano_gaussian, whose actions are real numbers."""

    initial_std: float = Field(default=0.5, gt=0)
    """Standard deviation of each action number before anything is learnt."""
    min_std: float = Field(default=0.05, gt=0)
    """Smallest standard deviation: what keeps exploring, and what bounds the log-probability."""
    steps_per_draw: int = Field(default=1, ge=1)
    """Control steps for which it holds each drawn action; divides env.action_chunk."""


def saved_settings(folder: Path) -> dict[str, Any]:
    """The kind of a saved nano policy and the section of its kind, as `PolicyConfig` has them; nothing of other kinds.

    Raises:
        CheckpointError: There is no settings file, or it is damaged.
    """
    saved = read_object(folder / CONFIG_FILE)
    for kind, section in (("nano", NanoSettings), ("nano_gaussian", NanoGaussianSettings)):
        if saved.get("kind") == kind:
            return {"kind": kind, kind: {name: saved[name] for name in section.model_fields if name in saved}}
    return {}
