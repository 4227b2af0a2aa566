"""OpenVLA as a module: pictures and a prompt in, hidden states of the places that predict action tokens out.

    <s> | projected patches | state | rest of the prompt | action places      in this order, one sequence per decision

OpenVLA-OFT may look at a second picture, whose patches follow those of the first, and at the robot's state: one place.

Prompts of unequal length are padded on the right, between prompt and actions. Padding is hidden from attention and the
action places' positions follow each row's own prompt, so a row's numbers do not depend on the rows beside it, and
the action places stand at the same index in every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from tgrpo_trainer.policy.lora import rows_from_adapter
from tgrpo_trainer.policy.openvla.architecture import Architecture
from tgrpo_trainer.policy.openvla.regression import MIN_SCALE, NOISE_SCALE, L1Head, ProprioProjector, initial_log_scale
from tgrpo_trainer.policy.openvla.vision import VisionBackbone

PROMPT_PADDING_ID = 0
"""What shorter prompts are padded with (PolicyInput's convention); the tokenizer's id 0 (unknown) never occurs."""


@dataclass(frozen=True)
class Prefix:
    """Everything before the action places.

    Attributes:
        embeddings_NSD: Embeddings of `<s>`, the patches, perhaps the robot's state, and the rest of the prompt.
        visible_NS: False at padding.
        last_N: Index of each row's last prompt token, which predicts the first action token.
    """

    embeddings_NSD: Tensor
    visible_NS: Tensor
    last_N: Tensor

    def __len__(self) -> int:
        return self.visible_NS.shape[1]


class OpenVlaModel(nn.Module):
    """The network; its `state_dict` has exactly the names and shapes of the published checkpoints.

    OpenVLA-OFT's parts, which have files of their own there, stand under the names of these files.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.llama.hidden_size
        self.vision_backbone = VisionBackbone(architecture.towers, film_width=width if architecture.film else None)
        self.projector = _Projector(architecture)
        self.language_model = LlamaForCausalLM(_llama_config(architecture))
        self.proprio_projector = None
        if architecture.proprio_dim:
            self.proprio_projector = ProprioProjector(architecture.proprio_dim, width)
        self.action_head = None
        if architecture.l1_head:
            self.action_head = L1Head(width)
            self.log_scale_A = nn.Parameter(initial_log_scale(NOISE_SCALE))

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures the towers take."""
        return self.architecture.towers[0].image_size

    def rebuild_buffers(self) -> None:
        """Compute what no checkpoint holds (the rotary frequencies), after building on the meta device."""
        self.language_model.model.rotary_emb = LlamaRotaryEmbedding(self.language_model.config)

    def enable_gradient_checkpointing(self) -> None:
        """Trade time for memory in training passes: keep only the blocks' inputs and compute the rest again."""
        for tower in self.vision_backbone.towers:
            tower.gradient_checkpointing = True
        llama: Any = self.language_model
        how = {"use_reentrant": False}
        if hasattr(llama, "activation_checkpointing_enable"):  # the older name, a FutureWarning where both exist
            llama.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
        else:
            llama.gradient_checkpointing_enable(how)

    def prefix(self, pixels_NCHW: Tensor, prompt_NL: Tensor, state_NP: Tensor | None = None) -> Prefix:
        """Look at the pictures once and put them behind the first token of the prompt.

        Args:
            pixels_NCHW: For each picture three channels a tower.
            prompt_NL: Ids, padded on the right.
            state_NP: The robot's normalised state, of a model that is shown it.
        """
        prompt_NLD = self.embed(prompt_NL)
        is_text_NL = prompt_NL != PROMPT_PADDING_ID
        language_ND = self._mean_word(prompt_NLD, is_text_NL) if self.architecture.film else None
        patches_NPD = self._patches(pixels_NCHW.to(prompt_NLD.dtype), language_ND)
        if self.proprio_projector is not None:
            assert state_NP is not None  # the policy's inputs are those of its model
            state_N1D = self.proprio_projector(state_NP.to(prompt_NLD.dtype))
            patches_NPD = torch.cat([patches_NPD, state_N1D], dim=1)
        num_patches = patches_NPD.shape[1]
        is_patch_NP = is_text_NL.new_ones(len(prompt_NL), num_patches)
        return Prefix(
            embeddings_NSD=torch.cat([prompt_NLD[:, :1], patches_NPD, prompt_NLD[:, 1:]], dim=1),
            visible_NS=torch.cat([is_text_NL[:, :1], is_patch_NP, is_text_NL[:, 1:]], dim=1),
            last_N=num_patches + is_text_NL.sum(1) - 1,
        )

    def scale(self) -> Tensor:
        """scale_A float32 of the noise around the regression head's numbers."""
        return MIN_SCALE + self.log_scale_A.float().exp()

    @torch.no_grad()
    def set_scale(self, scale: float) -> None:
        """Start from another scale."""
        self.log_scale_A.copy_(initial_log_scale(scale))

    def _mean_word(self, prompt_NLD: Tensor, is_text_NL: Tensor) -> Tensor:
        """language_ND, the mean embedding of the prompt and the end token, which OpenVLA-OFT's FiLM is given."""
        end_D = self.embed(torch.full((), self.architecture.llama.eos_token_id, device=prompt_NLD.device))
        total_ND = (prompt_NLD * is_text_NL[:, :, None]).sum(1) + end_D
        mean_ND: Tensor = total_ND / (is_text_NL.sum(1, keepdim=True) + 1)
        return mean_ND

    def _patches(self, pixels_NCHW: Tensor, language_ND: Tensor | None) -> Tensor:
        """Projected patches of all pictures, one picture behind another; the towers see them as rows of their own."""
        rows, num_pictures = len(pixels_NCHW), self.architecture.num_pictures
        pictures = pixels_NCHW.reshape(rows * num_pictures, -1, *pixels_NCHW.shape[2:])
        if language_ND is not None:
            language_ND = language_ND.repeat_interleave(num_pictures, dim=0)
        patches: Tensor = self.projector(self.vision_backbone(pictures, language_ND))
        return patches.view(rows, -1, patches.shape[2])

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids, one more axis at the end."""
        embeddings: Tensor = self.language_model.model.embed_tokens(ids)
        return embeddings

    def action_logits(self, hidden_NKD: Tensor, head_VD: Tensor | None = None) -> Tensor:
        """float32 logits_NKV over the action bins, whatever the model computes in.

        Args:
            hidden_NKD: Hidden states of the places that predict action tokens.
            head_VD: What `token_head` gave, where many calls share it; None takes it anew.
        """
        return nn.functional.linear(hidden_NKD.float(), self.token_head() if head_VD is None else head_VD)

    def action_share(self, hidden_NKD: Tensor) -> Tensor:
        """share_NK in [0, 1]: how much of the whole vocabulary's probability the action tokens hold."""
        logits_NKV = self.language_model.lm_head(hidden_NKD).float()
        end, num_bins = self.architecture.action_vocab_end, self.architecture.num_bins
        share_NK: Tensor = (logits_NKV[..., end - num_bins : end].logsumexp(-1) - logits_NKV.logsumexp(-1)).exp()
        return share_NK

    def token_head(self) -> Tensor:
        """head_VD float32, the head's rows of the action bins in the order of the bins.

        Only these rows of the vocabulary are computed: the policy is the model's distribution over action tokens. The
        ids fall while the bins rise (`actions.ActionCodec.token_ids`).
        """
        end, num_bins = self.architecture.action_vocab_end, self.architecture.num_bins
        rows, head = slice(end - num_bins, end), self.language_model.lm_head
        head_VD: Tensor = head.weight[rows].float()
        if not isinstance(head, nn.Linear):  # with a LoRA adapter
            head_VD = head_VD + rows_from_adapter(head, rows)
        return head_VD.flip(0)


class _Projector(nn.Module):
    """From the towers' channels to Llama's width: three layers behind two towers, two behind one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        vision_dim = sum(tower.dim for tower in architecture.towers)
        inner, width = architecture.projector_dim, architecture.llama.hidden_size
        self.fc1 = nn.Linear(vision_dim, inner)
        self.fc2 = nn.Linear(inner, width)
        self.fc3 = nn.Linear(width, width) if len(architecture.towers) == 2 else None

    def forward(self, features_NPD: Tensor) -> Tensor:
        hidden_NPD: Tensor = self.fc2(nn.functional.gelu(self.fc1(features_NPD)))
        return hidden_NPD if self.fc3 is None else self.fc3(nn.functional.gelu(hidden_NPD))


def _llama_config(architecture: Architecture) -> LlamaConfig:
    llama = architecture.llama
    return LlamaConfig(
        vocab_size=llama.vocab_size,
        hidden_size=llama.hidden_size,
        intermediate_size=llama.intermediate_size,
        num_hidden_layers=llama.num_hidden_layers,
        num_attention_heads=llama.num_attention_heads,
        num_key_value_heads=llama.num_key_value_heads,
        rms_norm_eps=llama.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": llama.rope_theta},
        max_position_embeddings=llama.max_position_embeddings,
        tie_word_embeddings=False,
        use_cache=False,
    )
