"""Refuses checkpoints whose weights would load but whose head or inputs are not supported, or whose parts are missing.

OpenVLA-OFT and the libraries built on it keep the layout of OpenVLA's shards and put more beside them, or say in
config.json that the model was shown more. Played without that, such a model moves, and fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.hub import OTHER_PARTS, PLAYED, refuse_parts
from tgrpo_trainer.policy.openvla.architecture import NUM_PICTURES
from tgrpo_trainer.policy.openvla.film import is_modulation

DIFFUSION = "use_diffusion"
"""A setting of OpenVLA-OFT's training, as some libraries copy them into config.json."""
NEEDED_PARTS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "use_l1_regression": ("action_head", lambda name: name.startswith("action_head.")),
    "use_proprio": ("proprio_projector", lambda name: name.startswith("proprio_projector.")),
    "use_film": ("vision_backbone", is_modulation),
}
"""Such settings, the part that has to be there then, and how its tensors are told."""
MAX_PICTURES = 2
LANGUAGE_MODEL = "llm_backbone_id"
_LANGUAGE_MODELS = re.compile(r"llama2-\w+-pure")
"""Those that the prompt's wording is for; a Vicuna (openvla-v01) is asked as a user, in other words."""
_DIFFUSION = "action_head.noise_predictor."


def refuse_unplayable(folder: Path, config: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Refuse a checkpoint of another head or other inputs than those that are supported.

    Args:
        folder: The checkpoint, whose files' names are looked at.
        config: Its config.json.
        tensors: Names of its tensors, those of parts included.

    Raises:
        CheckpointError: Names the file, setting or tensor that says so, and what it is.
    """
    refuse_parts((path.name for path in folder.iterdir()), str(folder))
    if config.get(DIFFUSION):
        raise CheckpointError(f"{folder / CONFIG_FILE} says {DIFFUSION}: the model has a diffusion head; {PLAYED}.")
    for name, (part, belongs) in NEEDED_PARTS.items():
        if config.get(name) and not any(map(belongs, tensors)):
            raise CheckpointError(
                f"{folder / CONFIG_FILE} says {name}, but no {part}--*_checkpoint.pt lies beside it; copy that file of "
                "the same step there."
            )
    language_model = config.get(LANGUAGE_MODEL)
    if language_model is not None and not _LANGUAGE_MODELS.fullmatch(str(language_model)):
        raise CheckpointError(
            f"{folder / CONFIG_FILE} says {LANGUAGE_MODEL}: {language_model}, whose prompts have another wording; take "
            "a checkpoint of llama2-7b-pure, as openvla-7b's are."
        )
    pictures = config.get(NUM_PICTURES)
    if pictures is not None and (type(pictures) is not int or pictures not in range(1, MAX_PICTURES + 1)):
        raise CheckpointError(
            f"{folder / CONFIG_FILE} says {NUM_PICTURES}: {pictures}; the environment has {MAX_PICTURES} cameras."
        )
    for name in tensors:
        part_of = _part_of(name)
        if part_of is not None:
            raise CheckpointError(f"The weights in {folder} hold {name}, a tensor of {part_of}; {PLAYED}.")


def _part_of(tensor: str) -> str | None:
    """Which unsupported part a tensor belongs to."""
    if tensor.startswith(_DIFFUSION):
        return "OpenVLA-OFT's diffusion head"
    return OTHER_PARTS.get(tensor.partition(".")[0])
