"""The sizes of an OpenVLA: read from the shapes of its tensors, and from its config.json what no tensor shows.

Reading the sizes from the tensors lets a reduced checkpoint of the same layout load like the published ones.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy.openvla.vision import NUM_HEADS, TowerKind, TowerShape

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each stored tensor by its name."""

TOWER_NAMES = ("vision_backbone.featurizer", "vision_backbone.fused_featurizer")
NUM_ACTION_BINS = 256
TAIL_PADDING = 64
"""Rows at the end of the vocabulary that stand for nothing (`pad_to_multiple_of`); action tokens end before them."""
NUM_PICTURES = "num_images_in_input"
"""config.json's name for the number of pictures, where a library wrote it."""

# transformers 4.40 wrote only what differs from its defaults into config.json, so these are part of the format.
LLAMA_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALLEST = {"num_attention_heads": 1, "max_position_embeddings": 1, "bos_token_id": 0, "eos_token_id": 0}
"""Of these, the others being real numbers above 0."""
ACTIVATION = "silu"


@dataclass(frozen=True)
class LlamaShape:
    """Everything that shapes the language model; the names are those of transformers' LlamaConfig."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    bos_token_id: int
    eos_token_id: int


@dataclass(frozen=True)
class Architecture:
    """All sizes of a model.

    Attributes:
        towers: One or two.
        llama: The language model.
        projector_dim: Width of the projector's first layer (two towers: 4 times their channels; one: Llama's width).
        num_bins: Action tokens.
        tail_padding: Vocabulary rows after the action tokens.
        num_pictures: 1 = the agentview; 2 = and the wrist's (OpenVLA-OFT).
        proprio_dim: Numbers of the robot's state that it is shown; 0 = none.
        l1_head: Whether actions are numbers from OpenVLA-OFT's regression head instead of tokens.
        film: Whether the prompt modulates the towers' blocks.
    """

    towers: tuple[TowerShape, ...]
    llama: LlamaShape
    projector_dim: int
    num_bins: int = NUM_ACTION_BINS
    tail_padding: int = TAIL_PADDING
    num_pictures: int = 1
    proprio_dim: int = 0
    l1_head: bool = False
    film: bool = False

    @property
    def action_vocab_end(self) -> int:
        """The action tokens are the `num_bins` ids below this one (32000 in the published models)."""
        return self.llama.vocab_size - self.tail_padding


OPENVLA_7B = Architecture(
    towers=(
        TowerShape("dinov2", dim=1024, depth=24, mlp_dim=4096, patch=14, num_patches=256, num_registers=4),
        TowerShape("siglip", dim=1152, depth=27, mlp_dim=4304, patch=14, num_patches=256),
    ),
    llama=LlamaShape(
        vocab_size=32064,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_key_value_heads=32,
        **LLAMA_DEFAULTS,
    ),
    projector_dim=8704,
)
"""The published models' sizes, for arithmetic without a checkpoint."""


def read_architecture(config: Mapping[str, Any], shapes: Shapes, num_pictures: int | None = None) -> Architecture:
    """The sizes of a checkpoint.

    Args:
        config: Its config.json.
        shapes: Shapes of its tensors, those of the parts beside the shards included.
        num_pictures: How many it was trained with, which the authors' files do not say; None takes what config.json
            says, else 2 beside a regression head (as all that the authors published for LIBERO), else 1.

    Raises:
        CheckpointError: A tensor that sizes are read from is missing, a size of config.json contradicts the tensors, or
            the vision backbone is not of DINOv2 and SigLIP.
    """
    try:
        towers = tuple(
            _tower_shape(kind, name, shapes) for kind, name in zip(_tower_kinds(config), TOWER_NAMES, strict=False)
        )
        _refuse_other_pictures(towers, config.get("image_sizes"))
        llama = _llama_shape(_object(config.get("text_config"), "text_config"), shapes)
        projector_dim = shapes["projector.fc1.weight"][0]
        num_bins = _whole("n_action_bins", config.get("n_action_bins", NUM_ACTION_BINS), 2)
        padding = _whole("pad_to_multiple_of", config.get("pad_to_multiple_of", TAIL_PADDING), 1)
        if not 2 <= num_bins <= llama.vocab_size - padding:
            raise ValueError(
                f"n_action_bins is {num_bins}, but {llama.vocab_size} rows, the last {padding} empty, hold 2 to "
                f"{llama.vocab_size - padding} action tokens."
            )
    except KeyError as error:
        raise CheckpointError(f"The checkpoint has no tensor {error}, so it is not an OpenVLA or not whole.") from error
    except (IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"The checkpoint's sizes cannot be read from its tensors and config: {error}") from error
    l1_head = "action_head.model.fc1.weight" in shapes
    return Architecture(
        towers,
        llama,
        projector_dim,
        num_bins,
        padding,
        num_pictures=num_pictures or config.get(NUM_PICTURES) or (2 if l1_head else 1),
        proprio_dim=shapes.get("proprio_projector.fc1.weight", (0, 0))[1],
        l1_head=l1_head,
        film=f"{TOWER_NAMES[0]}.blocks.0.scale.weight" in shapes,
    )


def _tower_kinds(config: Mapping[str, Any]) -> tuple[TowerKind, ...]:
    """The towers' kinds from the names config.json has for them."""
    backbone = str(config.get("vision_backbone_id", ""))
    fused = config.get("use_fused_vision_backbone")
    if fused is None:
        fused = backbone.startswith(("dinoclip", "dinosiglip"))
    parts = config.get("timm_model_ids") or (["dinov2", backbone.removeprefix("dino")] if fused else [backbone])
    kinds = tuple(_tower_kind(str(part)) for part in parts)
    if len(kinds) != (2 if fused else 1):
        raise CheckpointError(
            f"config.json names {len(kinds)} vision towers, but use_fused_vision_backbone is {fused}."
        )
    return kinds


def _tower_kind(name: str) -> TowerKind:
    if "dinov2" in name:
        return "dinov2"
    if "siglip" in name:
        return "siglip"
    raise CheckpointError(f"config.json names the vision tower {name!r}; only DINOv2 and SigLIP towers are supported.")


def _tower_shape(kind: TowerKind, name: str, shapes: Shapes) -> TowerShape:
    dim, _, patch, _ = shapes[f"{name}.patch_embed.proj.weight"]
    num_patches = shapes[f"{name}.pos_embed"][1]
    if dim % NUM_HEADS or math.isqrt(num_patches) ** 2 != num_patches:
        raise ValueError(f"{name} has {dim} channels (a multiple of {NUM_HEADS}?) and {num_patches} patches (square?).")
    return TowerShape(
        kind=kind,
        dim=dim,
        depth=_count(rf"{re.escape(name)}\.blocks\.(\d+)\.", shapes),
        mlp_dim=shapes[f"{name}.blocks.0.mlp.fc1.weight"][0],
        patch=patch,
        num_patches=num_patches,
        num_registers=shapes[f"{name}.reg_token"][1] if kind == "dinov2" else 0,
    )


def _refuse_other_pictures(towers: tuple[TowerShape, ...], stated: Any) -> None:
    """All towers see one picture cut into the same patches, whose size the config may state."""
    sizes = [tower.image_size for tower in towers]
    if len(set(sizes)) > 1 or (stated is not None and list(stated) != sizes):
        raise ValueError(f"the towers take pictures of {sizes} pixels, config.json's image_sizes says {stated}.")


def _llama_shape(text_config: Mapping[str, Any], shapes: Shapes) -> LlamaShape:
    vocab_size, hidden_size = shapes["language_model.model.embed_tokens.weight"]
    read = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": shapes["language_model.model.layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": _count(r"language_model\.model\.layers\.(\d+)\.", shapes),
    }
    for name, size in read.items():
        if text_config.get(name, size) != size:
            raise ValueError(f"config.json's text_config says {name} {text_config[name]}, the tensors say {size}.")
    if (activation := text_config.get("hidden_act", ACTIVATION)) != ACTIVATION:
        raise ValueError(f"text_config says hidden_act {activation!r}; OpenVLA's Llama has {ACTIVATION}.")
    stated = {name: text_config.get(name, default) for name, default in LLAMA_DEFAULTS.items()}
    stated["rope_theta"] = _rope_theta(text_config)
    for name, value in stated.items():
        stated[name] = _whole(name, value, SMALLEST[name]) if name in SMALLEST else _positive(name, value)
    heads = stated["num_attention_heads"]
    if hidden_size % (2 * heads):
        raise ValueError(
            f"num_attention_heads is {heads}, but a head has an even share of the language model's {hidden_size} "
            "channels."
        )
    head_dim = hidden_size // heads
    key_heads, left = divmod(shapes["language_model.model.layers.0.self_attn.k_proj.weight"][0], head_dim)
    if left or not key_heads or heads % key_heads or text_config.get("num_key_value_heads", key_heads) != key_heads:
        raise ValueError(
            f"num_attention_heads is {heads} and num_key_value_heads {text_config.get('num_key_value_heads')}, but the "
            f"tensors have {key_heads} keys of {head_dim} channels."
        )
    return LlamaShape(**read, **stated, num_key_value_heads=key_heads)


def _rope_theta(text_config: Mapping[str, Any]) -> Any:
    """The base of the rotary embedding, which transformers 5 has in `rope_parameters`; nothing else may be set."""
    stated = [text_config["rope_theta"]] if "rope_theta" in text_config else []
    for name in ("rope_parameters", "rope_scaling"):
        for key, value in _object(text_config.get(name), name).items():
            if key == "rope_theta":
                stated.append(value)
            elif value is not None and (key not in ("rope_type", "type") or value != "default"):
                raise ValueError(f"{name} says {key} {value!r}; only rope_type default is played, with its rope_theta.")
    if any(theta != stated[0] for theta in stated):
        raise ValueError(f"text_config says rope_theta {' and '.join(map(str, stated))}; leave one.")
    return stated[0] if stated else LLAMA_DEFAULTS["rope_theta"]


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping | None):
        raise ValueError(f"config.json's {name} is {value!r}, not an object.")
    return value or {}


def _whole(name: str, value: Any, smallest: int) -> int:
    if type(value) is not int or value < smallest:  # a truth value is an int too
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {smallest}.")
    return value


def _positive(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}; it must be a number above 0.")
    return float(value)


def _count(pattern: str, shapes: Shapes) -> int:
    """One more than the largest number the pattern finds in a tensor's name."""
    return 1 + max(int(found[1]) for name in shapes if (found := re.match(pattern, name)))
