"""What a SmolVLA is shown, from what the trainer gives: LeRobot's names, turned pictures, LIBERO's state, tokens.

The checkpoint's own processors rename cameras, write and tokenise the instruction, and normalise. LeRobot turns
LIBERO's raw pictures by 180 degrees; ours are upright, so left and right change places (`tgrpo_envs.bridges.libero`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.libero_state import libero_state
from tgrpo_trainer.policy.smolvla.checkpoint import SmolVlaCheckpoint
from tgrpo_trainer.types import PolicyInput

STATE = "observation.state"
TOKENS, TOKENS_MASK = "observation.language.tokens", "observation.language.attention_mask"
_OF_TEXTS = ("NewLineTaskProcessorStep", "TokenizerProcessorStep")
_OF_PLACES = ("AddBatchDimensionProcessorStep", "DeviceProcessorStep")
"""Rows and devices are the trainer's business."""


class Inputs:
    """A checkpoint's processors, for rows of ours.

    Args:
        checkpoint: With LeRobot's steps.
        agentview: What it calls the camera that looks at the scene.
        wrist: What it calls the one on the gripper.

    Raises:
        ConfigError: Its cameras have other names.
    """

    def __init__(self, checkpoint: SmolVlaCheckpoint, agentview: str, wrist: str) -> None:
        self._cameras = (agentview, wrist)
        kinds = {id(step): type(step).__name__ for step in checkpoint.before}
        self._texts = [step for step in checkpoint.before if kinds[id(step)] in _OF_TEXTS]
        self._rows = [step for step in checkpoint.before if kinds[id(step)] not in (*_OF_TEXTS, *_OF_PLACES)]
        self._actions = [step for step in checkpoint.after if type(step).__name__ not in _OF_PLACES]
        given, _ = _run(self._rows, observation={name: torch.zeros(1, 3, 1, 1) for name in self._cameras})
        wanted = checkpoint.model.config.image_features.keys()
        if not (wanted <= given.keys() or given.keys() <= wanted):  # LeRobot's own rule; what is missing is left out
            raise ConfigError(
                f"The checkpoint's cameras are {' and '.join(wanted)}, but it is given {' and '.join(given)}; name "
                "them with --policy.smolvla.agentview and --policy.smolvla.wrist (of eval: --smolvla.agentview, "
                "--smolvla.wrist)."
            )

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """instruction_NL: the tokenizer's ids plus 1, because 0 is padding here and a token there."""
        row, _ = _run(self._texts, observation={}, complementary_data={"task": list(texts)})
        return (row[TOKENS] + 1) * row[TOKENS_MASK]

    def batch(self, obs: PolicyInput) -> dict[str, Tensor]:
        """What LeRobot's policies take, normalised."""
        agentview, wrist = self._cameras
        row = {
            agentview: _picture(obs.agentview_NHWC),
            wrist: _picture(obs.wrist_NHWC),
            STATE: libero_state(obs.proprio_NP),
        }
        batch, _ = _run(self._rows, observation=row)
        mask_NL = obs.instruction_NL > 0
        return batch | {TOKENS: (obs.instruction_NL - 1).clamp(min=0), TOKENS_MASK: mask_NL}

    def encode_actions(self, actions_NCA: Tensor) -> Tensor:
        """The environment's actions, normalised."""
        return _run(self._rows, observation={}, action=actions_NCA)[1]

    def decode_actions(self, numbers_NCA: Tensor) -> Tensor:
        """Actions for the environment, clipped to [-1, 1]."""
        return _run(self._actions, action=numbers_NCA)[1].clamp(-1.0, 1.0)


def _picture(pictures_NHWC: Tensor) -> Tensor:
    """(N, 3, H, W) float32 in [0, 1], as LIBERO's raw pictures turned by 180 degrees."""
    return pictures_NHWC.flip(2).permute(0, 3, 1, 2).contiguous().float() / 255.0


def _run(steps: Sequence[Any], **parts: Any) -> tuple[dict[str, Tensor], Tensor]:
    """The observation and the action that come out of some steps."""
    from lerobot.lerobot_types import TransitionKey
    from lerobot.processor.converters import create_transition

    transition = create_transition(**parts)
    for step in steps:
        transition = step(transition)
    return transition[TransitionKey.OBSERVATION], transition[TransitionKey.ACTION]
