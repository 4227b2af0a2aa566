"""What one may say to `python -m tgrpo_envs evaluate`. Imports nothing heavy: help is answered at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tgrpo_envs.perturbation import Kind


@dataclass(frozen=True)
class EvaluateOptions:
    """A policy, the episodes it plays, and where what comes of them is kept."""

    policy: tyro.conf.Positional[str]
    """`module:function`, or a server: `openpi:ws://host:port`, `openvla:http://host:port` (its /act),
    `oft:http://host:port` or `vla-eval:ws://host:port`."""
    out: Path
    """Folder for evaluation.json, each episode as soon as it is over, and videos."""
    suite: str | None = None
    """LIBERO suite; libero_object where it is left out."""
    tasks: tuple[str, ...] = ("all",)
    """Task indices or names (--tasks 0 3 5), or all."""
    bddl: Path | None = None
    """A task file of your own, in place of suite and tasks."""
    states: Literal["official", "heldout", "both"] | None = None
    """official = LIBERO's own 50 of a task; heldout = region states that no training of ours draws; None = official, or
    heldout for a file of your own."""
    num_states: int = 50
    """States of each set, from the first."""
    num_envs: int = 16
    """Episodes side by side; changes the time, not the result."""
    perturb: tuple[Kind | Literal["all"], ...] = ()
    """Play everything under these perturbations too, each alone (docs/perturbations.md), or under all."""
    perturb_level: int | None = None
    """1 = slight, 2 = clear, 3 = strong; None = 2."""
    perturb_seed: int | None = None
    """Which changes are drawn; None = 0."""
    perturb_variants: int | None = None
    """Changes of each kind and task, dealt out to the states in turn; None = 5."""
    assets: str = "auto"
    """Asset pack: auto, primitive, libero, or a folder."""
    detail: Literal["fast", "exact"] | None = None
    """exact = LIBERO's own pixels; fast = simplified meshes and one sample a pixel, many times as fast; None = what
    a server of ours asks for, else exact."""
    image_size: int | None = None
    """Side of the drawn pictures, pixels; None = 256, or what a server of ours asks for."""
    replan_steps: int | None = None
    """Control steps to play of each answer; None = the convention's: openpi 5, OpenVLA 1, OFT 8, others 1."""
    horizon: int | None = None
    """Cut episodes after this many control steps; None = the suite's limit."""
    videos: int = 0
    """Write videos of the first so many failures of each task."""
    timeout_s: float = 120.0
    """How long a server may think about a decision, seconds; the first one may have to compile."""
    api_key: str | None = None
    """Key that an openpi server asks for."""
    unnorm_key: str | None = None
    """Statistics that an OpenVLA or OFT server is to use."""
    resume: bool = False
    """Go on with what `out` holds; finished episodes are kept."""
