"""Serve a policy of ours in openpi's protocol: a client's observation becomes its input, and actions go back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_numbers
from tgrpo_envs.bridges.libero import STATE_SIZE, gripper_after, proprio, turned
from tgrpo_envs.bridges.openpi import OWN_METADATA, resized
from tgrpo_envs.bridges.openpi_server import serving
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.evaluation.source import find_source, load_source
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig
from tgrpo_trainer.types import PolicyInput

PICTURES = {"agentview": "observation/image", "wrist": "observation/wrist_image"}
OPEN_FINGER_M = 0.039
"""A finger that is farther out than this is commanded to open."""


@dataclass(frozen=True)
class ServeOptions:
    """Serve a policy to clients of openpi's websocket protocol; the most probable actions, Ctrl-C ends it."""

    checkpoint: tyro.conf.Positional[str]
    """A run's folder (its last checkpoint), a checkpoint, or a policy alone, as for `eval`."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines ask, and --api-key keeps strangers out."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key: str | None = None
    """What clients must send (openpi's `api_key`); None = everybody is answered."""
    replan_steps: int | None = None
    """Control steps that clients play of each answer; None = the whole answer. Clients that say it themselves, as
    openpi's with 5, must be told of here when it is another number: the gripper's state follows from it."""
    device: str | None = None
    """Torch device: auto, cpu, cuda, cuda:0 ...; None = the run's."""
    recipe: str | None = None
    """Settings for a policy that comes without a run."""
    openvla: OpenVlaConfig = field(default_factory=OpenVlaConfig)
    """How a published OpenVLA is used; a policy that a run saved has its own."""
    smolvla: SmolVlaConfig = field(default_factory=SmolVlaConfig)
    """How a published SmolVLA is used; a policy that a run saved has its own."""


def serve_policy(options: ServeOptions) -> None:
    """Load the policy and answer until interrupted.

    Raises:
        ConfigError: No such policy, or an address that cannot be listened on.
        CheckpointError: A policy that is missing or damaged.
    """
    source = find_source(options.checkpoint, options.recipe)
    chosen = PolicyConfig(openvla=options.openvla, smolvla=options.smolvla)
    policy, _ = load_source(source, source.config.env, chosen, options.device or source.config.run.device)
    served = ServedPolicy(policy, options.replan_steps, source.config.env.detail)
    with serving(
        served.player,
        host=options.host,
        port=options.port,
        metadata=served.metadata,
        api_key=options.api_key,
    ) as server:
        host, port = server.socket.getsockname()[:2]
        sys.stderr.write(f"Serving {options.checkpoint} at ws://{host}:{port}; Ctrl-C ends it.\n")
        sys.stderr.flush()
        server.serve_forever()


class ServedPolicy:
    """One policy that the connections of many clients share; it decides for one at a time.

    Args:
        policy: Ours.
        replan_steps: Control steps that clients play of each answer; None is all of it.
        detail: How the pictures were drawn that it was trained on.

    Raises:
        ConfigError: No step, or more than an answer has.
    """

    def __init__(
        self, policy: Policy, replan_steps: int | None = None, detail: Literal["fast", "exact"] = "fast"
    ) -> None:
        policy.eval()
        self.policy = policy
        self.detail = detail
        self.replan_steps = policy.action_chunk if replan_steps is None else replan_steps
        if not 0 < self.replan_steps <= policy.action_chunk:
            raise ConfigError(
                f"--replan-steps is {replan_steps}; give 1 to {policy.action_chunk}, the control steps of an answer of "
                "this policy."
            )
        self._one_at_a_time = threading.Lock()

    @property
    def metadata(self) -> dict[str, Any]:
        """What every client is told first; `tgrpo_envs evaluate` draws its pictures accordingly."""
        size, steps = self.policy.image_size, self.replan_steps
        return {OWN_METADATA: {"image_size": size, "replan_steps": steps, "detail": self.detail}}

    def player(self) -> Player:
        """What answers one connection."""
        return Player(self)

    def decide(self, observation: Mapping[str, NDArray[Any]], instruction: str) -> NDArray[np.float32]:
        """The most probable actions (C, 7) for one row of pictures and proprioception."""
        with self._one_at_a_time:
            instruction_NL = self.policy.encode_instructions([instruction])
            seen = PolicyInput.from_observation(observation, instruction_NL.cpu()).to(self.policy.device)
            with torch.inference_mode():
                actions_NCA = self.policy.sample(seen, greedy=True).actions_NCA
        decided: NDArray[np.float32] = actions_NCA[0].cpu().numpy()
        return decided


class Player:
    """The questions of one connection, in their order: the gripper's command is remembered from one to the next."""

    def __init__(self, served: ServedPolicy) -> None:
        self._served = served
        self._gripper = -1.0  # an episode begins with ten control steps of opening

    def act(self, question: Mapping[str, Any]) -> NDArray[np.float32]:
        """Actions (C, 7) for an observation under openpi's keys.

        Raises:
            ConfigError: A key is missing, or its value is not what it should be.
        """
        lacking = [key for key in (*PICTURES.values(), "observation/state", "prompt") if key not in question]
        if lacking:
            raise ConfigError(f"The observation lacks {', '.join(lacking)}.")
        state_8 = as_numbers(question["observation/state"], "observation/state")
        if state_8.shape != (STATE_SIZE,) or not np.isfinite(state_8).all():
            raise ConfigError(f"observation/state must be {STATE_SIZE} finite numbers, got the shape {state_8.shape}.")
        if not isinstance(question["prompt"], str):
            raise ConfigError("prompt must be a text.")
        if self._gripper > 0.0 and (np.abs(state_8[6:]) > OPEN_FINGER_M).all():
            self._gripper = -1.0  # closed and wide open: the client went on to another episode
        size = self._served.policy.image_size
        observation: dict[str, NDArray[Any]] = {
            name: resized(turned(_picture(question[key], key)[None]), size) for name, key in PICTURES.items()
        }
        observation["proprio"] = proprio(state_8, self._gripper)[None]
        actions_CA = self._served.decide(observation, question["prompt"])
        self._gripper = gripper_after(self._gripper, actions_CA[: self._served.replan_steps].astype(np.float64))
        return actions_CA


def _picture(value: object, key: str) -> NDArray[np.uint8]:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
        raise ConfigError(f"{key} must be a uint8 picture (H, W, 3).")
    if value.shape[0] != value.shape[1] or not value.size:
        raise ConfigError(f"{key} must be square, got {value.shape[0]} x {value.shape[1]} pixels.")
    return value
