"""What can be chosen of an OpenVLA: its checkpoints leave it open."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tgrpo_envs.base_settings import Settings


class OpenVlaConfig(Settings):
    """What an OpenVLA checkpoint leaves open (policy.kind openvla); docs/openvla.md has the conventions."""

    unnorm_key: str | None = None
    """Data set whose action statistics apply; None = the one that the policy's own run was given, unless that is named
    like a suite; else the suite's own (with or without _no_noops)."""
    center_crop: bool = True
    """Look at the centre 0.9 of the picture's area: for models trained with random crops, as the published ones are."""
    jpeg: bool = False
    """Look at each picture as it comes back from a JPEG file, as the published evaluation does."""
    decoding: Literal["autoregressive", "parallel"] = "autoregressive"
    """autoregressive = OpenVLA, one step a decision; parallel = OpenVLA-OFT, a chunk a decision."""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Convert the weights; None = train them as they are stored. float16 needs update.optimizer adamw_master."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Compile the step of autoregressive decoding (CUDA graphs on a GPU); needs a C++ compiler, and a minute."""
    num_pictures: int | None = Field(default=None, ge=1, le=2)
    """Pictures it was trained with: 1 = agentview; 2 = and the wrist's; None = as the policy was saved, else as its
    config.json says, else 2 beside OpenVLA-OFT's L1 head, else 1."""
    noise: Literal["laplace", "gaussian"] = "laplace"
    """Density that actions are drawn from around the L1 head's numbers."""
    noise_scale: float | None = Field(default=None, gt=0)
    """Its scale at the start, in the units of the training data (1 = half of their range); None = as the checkpoint was
    saved, 0.135 for a published one. Learnt, except by LoRA."""

    @model_validator(mode="before")
    @classmethod
    def _without_lora(cls, values: object) -> object:
        """Records of evaluations by versions up to 0.2 hold LoRA's settings here; an evaluation trains no adapters."""
        if isinstance(values, dict) and isinstance(lora := values.get("lora"), dict) and lora.get("rank") == 0:
            return {name: value for name, value in values.items() if name != "lora"}
        return values
