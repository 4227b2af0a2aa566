"""LeRobot's plugin for tgrpo_envs: `lerobot-eval --env.type=tgrpo`. LeRobot imports it by its name."""

from __future__ import annotations

from lerobot_env_tgrpo.config import TgrpoEnvConfig

__all__ = ["TgrpoEnvConfig"]
