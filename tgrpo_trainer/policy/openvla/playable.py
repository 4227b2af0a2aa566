"""Refuses checkpoints whose weights would load but whose head or inputs are not supported.

OpenVLA-OFT and the libraries built on it keep the layout of OpenVLA's shards and put more beside them, or say in
config.json that the model was shown more. Played without that, such a model moves, and fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.hub import PARTS, PLAYED, refuse_parts

FLAGS = {
    "use_l1_regression": "a continuous action head (L1)",
    "use_diffusion": "a continuous action head (diffusion)",
    "use_film": "FiLM in its vision backbone",
    "use_proprio": "the robot's own state (proprioception) among its inputs",
}
"""Settings of OpenVLA-OFT's training, as some libraries copy them into config.json."""
NUM_PICTURES = "num_images_in_input"
_FILM = re.compile(r"vision_backbone\..*\.(scale|shift)\.(weight|bias)")


def refuse_unplayable(folder: Path, config: Mapping[str, Any], tensors: Iterable[str]) -> None:
    """Refuse a checkpoint of another head or other inputs than the token head with one picture.

    Args:
        folder: The checkpoint, whose files' names are looked at.
        config: Its config.json.
        tensors: Names of its tensors.

    Raises:
        CheckpointError: Names the file, setting or tensor that says so, and what it is.
    """
    refuse_parts((path.name for path in folder.iterdir()), str(folder))
    for name, what in FLAGS.items():
        if config.get(name):
            raise CheckpointError(f"{folder / CONFIG_FILE} says {name}: the model has {what}; {PLAYED}.")
    pictures = config.get(NUM_PICTURES, 1)
    if pictures not in (None, 1):
        raise CheckpointError(f"{folder / CONFIG_FILE} says {NUM_PICTURES}: {pictures}, where 1 was wanted; {PLAYED}.")
    for name in tensors:
        part = PARTS["vision_backbone"] if _FILM.fullmatch(name) else _part_of(name)
        if part is not None:
            raise CheckpointError(f"The weights in {folder} hold {name}, a tensor of {part}; {PLAYED}.")


def _part_of(tensor: str) -> str | None:
    """Which of the parts a tensor belongs to; every OpenVLA has a vision backbone."""
    top = tensor.partition(".")[0]
    return None if top == "vision_backbone" else PARTS.get(top)
