"""The options of `python -m tgrpo_trainer eval`. Imports nothing heavy, so that --help is immediate."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from tgrpo_envs.perturbation import Kind
from tgrpo_envs.shared_settings import Suite
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig


@dataclass(frozen=True)
class EvalOptions:
    """Evaluate a policy on any tasks: successes with Wilson intervals per task, and pooled over tasks."""

    checkpoint: tyro.conf.Positional[str]
    """A run's folder (its last checkpoint), a checkpoint (runs/NAME/checkpoints/iteration_000040), or a policy alone
    such as a published OpenVLA: its folder, or owner/name[/folder][@revision] on the Hugging Face hub."""
    suite: Suite | None = None
    """LIBERO suite; None = the run's, or the one that an exported policy was trained on."""
    tasks: tuple[str, ...] = ()
    """Task indices or names (--tasks 0 3 5), or all; left out = the run's, or those of an exported policy's."""
    states: Literal["official", "heldout", "both"] = "both"
    """official = LIBERO's own 50 of the task; heldout = region states that training never draws."""
    mode: Literal["greedy", "sampled", "both"] = "both"
    """greedy = the most probable action; sampled = drawn at the temperature."""
    num_states: int | None = None
    """States of each set; None = all 50 official ones, and as many held-out ones as the run evaluates."""
    num_envs: int = 32
    """Environments side by side; changes the time, not the result."""
    temperature: float | None = None
    """Temperature of sampled actions; None = as the run evaluates."""
    seed: int | None = None
    """Seed of sampled actions; None = the run's own evaluation."""
    assets: str | None = None
    """Asset pack: auto, primitive, libero, or a folder; None = the run's."""
    detail: Literal["fast", "exact"] | None = None
    """How pictures are drawn: fast = simplified meshes, exact = LIBERO's pixels; None = the run's."""
    horizon: int | None = None
    """Cut episodes after this many control steps; None = as the run does on its own suite, else the suite's horizon."""
    perturb: Kind | Literal["none"] | None = None
    """Play under this kind of change to the tasks (docs/perturbations.md); none = the tasks as they are; None = as the
    run has them."""
    perturb_level: int | None = None
    """1 = slight, 2 = clear, 3 = strong; None = the run's, which is 2 where it has not said."""
    perturb_seed: int | None = None
    """Which change of that kind; None = the run's, which is 0 where it has not said."""
    videos: int = 0
    """Write videos of up to this many failures of each task; needs --out."""
    out: Path | None = None
    """Folder for evaluation.json (all settings, counts and episodes) and videos/; None = only print."""
    device: str | None = None
    """Torch device: auto, cpu, cuda, cuda:0 ...; None = the run's."""
    recipe: str | None = None
    """Settings for a policy that comes without a run; None = openvla_libero for OpenVLA, smolvla_libero for
    SmolVLA, quickstart for nano."""
    image_size: int | None = None
    """Picture size in pixels for a published model; None = the recipe's."""
    action_chunk: int | None = None
    """Control steps a decision for a published model; None = the recipe's."""
    openvla: OpenVlaConfig = field(default_factory=OpenVlaConfig)
    """How a published OpenVLA is used; a policy that a run saved has its own."""
    smolvla: SmolVlaConfig = field(default_factory=SmolVlaConfig)
    """How a published SmolVLA is used; a policy that a run saved has its own."""

    @property
    def policy(self) -> PolicyConfig:
        """Sections of the kinds that have published models."""
        return PolicyConfig(openvla=self.openvla, smolvla=self.smolvla)
