"""The files of a run's folder. Each is written once its part of the run has finished, so a run can go on from them."""

from __future__ import annotations

CONFIG_NAME = "config.json"
"""The settings (TrainConfig)."""
DEMONSTRATIONS_NAME = "demonstrations.hdf5"
"""What behaviour cloning learns from, unless the settings name another file."""
SFT_NAME = "sft"
"""The cloned policy: start and reference of reinforcement learning."""
LAST_NAME = "last"
"""Everything needed to go on after the last finished iteration."""
CHECKPOINTS_NAME = "checkpoints"
"""One policy per evaluation: iteration_0010 and so on."""
EVALUATIONS_NAME = "evaluations"
"""One JSON file per evaluation, named like its checkpoint."""


def iteration_name(iteration: int) -> str:
    """Name of an iteration's checkpoint and evaluation; sorts by number."""
    return f"iteration_{iteration:04d}"
