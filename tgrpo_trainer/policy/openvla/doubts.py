"""Warns when a checkpoint is decoded in another way than it was trained, judging by its first decisions.

A policy here is the model's distribution over the 256 action tokens, so it always acts, even where the model would
rather say something else. OpenVLA-OFT's models decoded token by token, and OpenVLA's decoded in parallel, see sequences
unlike any in their training. A model of either kind that is decoded as it was trained gives action tokens nearly all of
the vocabulary's probability.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tgrpo_trainer.policy.openvla.decoding import PUBLISHED_CHUNK, parallel_hidden, teacher_forced_hidden
from tgrpo_trainer.policy.openvla.model import OpenVlaModel, Prefix
from tgrpo_trainer.types import ACTION_DIM

Decoding = Literal["autoregressive", "parallel"]

MAX_ROWS = 4
"""Decisions looked at: logits over the whole vocabulary take memory."""
DOUBTED_BELOW = 0.5
"""Share of the probability; training leaves no other token any."""
CHUNKS: dict[Decoding, int] = {"autoregressive": 1, "parallel": PUBLISHED_CHUNK}
WHOSE: dict[Decoding, str] = {"autoregressive": "OpenVLA's own", "parallel": "OpenVLA-OFT's with the token head"}
"""Models that are decoded so."""


@torch.no_grad()
def find_doubt(
    model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor, decoding: Decoding, *, saved_by_run: bool = False
) -> str | None:
    """What speaks against the chosen decoding, and what to set; None if nothing does.

    Args:
        model: Under examination.
        prefix: Some rows.
        token_ids_NK: What was drawn for them.
        decoding: How it was drawn.
        saved_by_run: Whether a run has decided that, so that nothing but a new run can change it.
    """
    share = _share(model, prefix, token_ids_NK, decoding)
    if share >= DOUBTED_BELOW:
        return None
    other: Decoding = "parallel" if decoding == "autoregressive" else "autoregressive"
    return (
        f"in its first decisions the model gives action tokens {share:.1%} of the probability (with {other} decoding "
        f"{_share(model, prefix, token_ids_NK, other):.1%}), so it was hardly trained for {decoding} decoding. "
        f"{_cure(other, saved_by_run=saved_by_run)}, if it is {WHOSE[other]}; otherwise it is not fine-tuned to act at "
        "all."
    )


def _cure(decoding: Decoding, *, saved_by_run: bool) -> str:
    chunk = CHUNKS[decoding]
    options = f"--policy.openvla.decoding {decoding} --env.action-chunk {chunk}"
    if saved_by_run:
        return f"Start a new run from the published checkpoint with {options}"
    return f"Set {options} (of eval: --openvla.decoding {decoding} --action-chunk {chunk})"


def _share(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor, decoding: Decoding) -> float:
    """The action tokens' mean share over all places of a decision."""
    if decoding == "parallel":
        hidden_NKD = parallel_hidden(model, prefix, max(token_ids_NK.shape[1], PUBLISHED_CHUNK * ACTION_DIM))
    else:
        hidden_NKD = teacher_forced_hidden(model, prefix, token_ids_NK[:, :ACTION_DIM])
    return model.action_share(hidden_NKD).mean().item()
