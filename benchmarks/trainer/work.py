"""Floating-point operations and bytes of an OpenVLA's work, from its sizes alone: arithmetic, nothing is run.

A multiply-add counts as two operations. Matrix products and attention count; norms, activations and softmax, together
far below a hundredth, do not. Attention counts every pair of places, also those a causal mask hides, as
`torch.utils.flop_counter` does: the masks here are data, and the kernels compute what they hide.

Bytes are what a phase cannot avoid moving: each weight once (once a step in decoding), the key-value cache, the
pictures. Activations are left out, so the time that follows is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from tgrpo_trainer.policy.openvla.architecture import Architecture
from tgrpo_trainer.policy.openvla.vision import TowerShape

BACKWARD_FULL = 2.0
"""Backward operations per forward one where all weights learn: gradients of inputs and of weights."""
BACKWARD_FROZEN = 1.0
"""The same where the large weights are frozen (LoRA): only gradients of inputs."""


@dataclass(frozen=True)
class Work:
    """What something asks of a machine.

    Attributes:
        flops: Floating-point operations.
        nbytes: Bytes read and written.
    """

    flops: float
    nbytes: float


@dataclass(frozen=True)
class Decision:
    """The size of one decision of a batch.

    Attributes:
        rows: N.
        places: Places of the prefix: `<s>`, patches and prompt.
        tokens: K.
        image_size: Side of the environment's pictures in pixels.
        element_bytes: Bytes of a weight.
    """

    rows: int
    places: int
    tokens: int
    image_size: int
    element_bytes: int


def tower_weights(tower: TowerShape) -> int:
    """Weights of the matrices a tower runs: all blocks but the last, and the patch embedding."""
    block = 4 * tower.dim**2 + 2 * tower.dim * tower.mlp_dim
    return (tower.depth - 1) * block + 3 * tower.patch**2 * tower.dim


def tower_flops(tower: TowerShape) -> int:
    """Operations of a tower for one picture."""
    tokens = tower.num_patches + (1 + tower.num_registers if tower.kind == "dinov2" else 0)
    block = 4 * tower.dim**2 + 2 * tower.dim * tower.mlp_dim
    attention = 4 * tokens**2 * tower.dim
    embedding = 2 * tower.num_patches * 3 * tower.patch**2 * tower.dim
    return (tower.depth - 1) * (2 * tokens * block + attention) + embedding


def projector_weights(architecture: Architecture) -> int:
    """Weights of the projector's matrices."""
    vision_dim = sum(tower.dim for tower in architecture.towers)
    inner, width = architecture.projector_dim, architecture.llama.hidden_size
    return vision_dim * inner + inner * width + (width**2 if len(architecture.towers) == 2 else 0)


def vision_flops(architecture: Architecture) -> int:
    """Operations of towers and projector for one picture."""
    projector = 2 * architecture.towers[0].num_patches * projector_weights(architecture)
    return sum(tower_flops(tower) for tower in architecture.towers) + projector


def llama_weights(architecture: Architecture) -> int:
    """Weights of the matrices of Llama's layers; neither embeddings nor head."""
    llama = architecture.llama
    attention = 2 * llama.hidden_size**2 + 2 * llama.hidden_size * _key_dim(architecture)
    return llama.num_hidden_layers * (attention + 3 * llama.hidden_size * llama.intermediate_size)


def llama_flops(architecture: Architecture, new_places: int, seen_places: int) -> int:
    """Operations of Llama's layers for some new places of one row, each of which attends to `seen_places`."""
    llama = architecture.llama
    attention = 4 * new_places * seen_places * llama.hidden_size * llama.num_hidden_layers
    return 2 * new_places * llama_weights(architecture) + attention


def head_weights(architecture: Architecture) -> int:
    """Weights of the head's rows of the action bins, the only ones that are run."""
    return architecture.num_bins * architecture.llama.hidden_size


def cache_bytes(architecture: Architecture, places: int, element_bytes: int) -> int:
    """Keys and values of some places of one row, in all layers."""
    return 2 * architecture.llama.num_hidden_layers * places * _key_dim(architecture) * element_bytes


def forward_flops(architecture: Architecture, places: int, tokens: int) -> int:
    """Operations of one teacher-forced row: a picture, the prefix, K - 1 action tokens behind it, K logits."""
    length = places + tokens - 1
    head = 2 * tokens * head_weights(architecture)
    return vision_flops(architecture) + llama_flops(architecture, length, length) + head


def update_flops(architecture: Architecture, places: int, tokens: int, *, backward: float) -> float:
    """Useful operations of learning from one row, without those that gradient checkpointing repeats."""
    return (1.0 + backward) * forward_flops(architecture, places, tokens)


def decision_phases(architecture: Architecture, decision: Decision) -> dict[str, Work]:
    """Work of each phase of a batched decision with a cache, by the phase's name.

    Decoding is K logits with K - 1 steps between them, each of which reads all weights and all that was written.
    """
    rows, places, size = decision.rows, decision.places, decision.element_bytes
    llama, head = llama_weights(architecture), head_weights(architecture)
    seen = [places + k for k in range(1, decision.tokens)]
    return {
        **seeing_phases(architecture, decision),
        "prefill": Work(
            rows * llama_flops(architecture, places, places),
            llama * size + rows * cache_bytes(architecture, places, size),
        ),
        "decode": Work(
            rows * (sum(llama_flops(architecture, 1, each) for each in seen) + 2 * decision.tokens * head),
            sum(llama * size + rows * cache_bytes(architecture, each, size) for each in seen)
            + decision.tokens * head * size,
        ),
    }


def parallel_phases(architecture: Architecture, decision: Decision) -> dict[str, Work]:
    """The same of a decision whose K tokens are drawn at once: one pass over the prefix, K places and the end token."""
    rows, length, head = decision.rows, decision.places + decision.tokens + 1, head_weights(architecture)
    flops = llama_flops(architecture, length, length) + 2 * decision.tokens * head
    nbytes = (llama_weights(architecture) + head) * decision.element_bytes
    return {**seeing_phases(architecture, decision), "all places at once": Work(rows * flops, nbytes)}


def seeing_phases(architecture: Architecture, decision: Decision) -> dict[str, Work]:
    """Work of preparing pictures, and of towers and projector."""
    towers, rows = architecture.towers, decision.rows
    pixels = 3 * len(towers) * towers[0].image_size ** 2
    weights = sum(tower_weights(tower) for tower in towers) + projector_weights(architecture)
    return {
        "pictures": Work(0, rows * (3 * decision.image_size**2 + 4 * pixels)),
        "vision": Work(rows * vision_flops(architecture), weights * decision.element_bytes + 4 * rows * pixels),
    }


def _key_dim(architecture: Architecture) -> int:
    """Width of the keys, and of the values, of a place in one layer."""
    llama = architecture.llama
    return llama.hidden_size // llama.num_attention_heads * llama.num_key_value_heads
