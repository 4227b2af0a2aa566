"""The baseline: one row, one token after another, the whole sequence computed again for each.

Written without the code it is compared with: no cache, no masks, no padding, transformers' own causal attention.
"""

from __future__ import annotations

import torch

from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import PolicyInput


@torch.no_grad()
def plain_decision(policy: OpenVlaPolicy, obs: PolicyInput) -> list[int]:
    """The most probable action tokens (bins) of one row, whose prompt has no padding; the picture is seen once."""
    model, architecture = policy.model, policy.model.architecture
    pixels = prepare_pictures(
        obs.agentview_NHWC, policy.towers, size=model.image_size, center_crop=policy.settings.center_crop
    )
    ids = obs.instruction_NL
    patches = model.projector(model.vision_backbone(pixels.to(model.embed(ids).dtype)))
    tokens = []
    for _ in range(policy.tokens_per_decision):
        words = model.embed(ids)
        places = torch.cat([words[:, :1], patches, words[:, 1:]], dim=1)
        logits = model.language_model(inputs_embeds=places, logits_to_keep=1).logits[0, -1]
        end = architecture.action_vocab_end
        drawn = end - architecture.num_bins + int(logits[end - architecture.num_bins : end].argmax())
        tokens.append(end - 1 - drawn)
        ids = torch.cat([ids, ids.new_tensor([[drawn]])], dim=1)
    return tokens
