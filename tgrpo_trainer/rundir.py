"""The files of a run's folder. Each is written once its part of the run has finished, so a run can go on from them."""

from __future__ import annotations

CONFIG_NAME = "config.json"
"""The settings (TrainConfig)."""
DEMONSTRATIONS_NAME = "demonstrations.hdf5"
"""What behaviour cloning learns from, unless the settings name another file."""
LAST_NAME = "last"
"""Checkpoint of the last finished iteration; iteration 0 is the cloned policy."""
CHECKPOINTS_NAME = "checkpoints"
"""One checkpoint per evaluation; iteration 0 is the start and the reference of reinforcement learning."""
EVALUATIONS_NAME = "evaluations"
"""One JSON file per evaluation, named like its checkpoint."""
VIDEOS_NAME = "videos"
"""Best and worst rollout of the last group."""


def iteration_name(iteration: int) -> str:
    """Name of an iteration's evaluation, the same as its checkpoint's (`checkpoint.py`); sorts by number."""
    return f"iteration_{iteration:06d}"
