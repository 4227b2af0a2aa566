"""Which policy a run trains: its kind, where it starts from, and a section of settings for each kind that has some."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import UnknownNameError
from tgrpo_trainer.policy import POLICIES
from tgrpo_trainer.policy.nano.settings import NanoGaussianSettings, NanoSettings
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig

MIN_TEMPERATURE = 1e-6
"""Least temperature: divided by much less, logits leave float32, and every draw would be the first token."""


class LoraConfig(Settings):
    """Train small adapters beside frozen weights (docs/openvla.md, LoRA)."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters (OpenVLA's own fine-tuning: 32); 0 = train the weights themselves."""
    alpha: float = Field(default=16.0, gt=0)
    """The adapters' output is multiplied by alpha / rank."""
    targets: Literal["all-linear", "language-model"] = "all-linear"
    """Layers with adapters: all that are run, or only the language model's (less memory)."""


class PolicyConfig(Settings):
    """What is trained."""

    kind: str = "nano"
    """nano = new, small, learns on a CPU; nano_gaussian = the same with real-valued actions; openvla, smolvla = start
    from checkpoint, published or saved by a run."""
    checkpoint: str | None = None
    """Start from this policy: a folder with config.json, or owner/name[/folder][@revision] on the Hugging Face hub;
    None = a new policy."""
    lora: LoraConfig = LoraConfig()
    nano: NanoSettings = NanoSettings()
    nano_gaussian: NanoGaussianSettings = NanoGaussianSettings()
    openvla: OpenVlaConfig = OpenVlaConfig()
    smolvla: SmolVlaConfig = SmolVlaConfig()

    @property
    def own_settings(self) -> Settings | None:
        """The section of the chosen kind; None for one that has none."""
        section: Settings | None = getattr(self, self.kind, None)
        return section

    @model_validator(mode="before")
    @classmethod
    def _names_of_earlier_versions(cls, values: object) -> object:
        """Runs of versions up to 0.2 have nano's settings beside the kind, and LoRA's among OpenVLA's."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        moved = {name: values.pop(name) for name in NanoSettings.model_fields if name in values}
        if moved:
            values["nano"] = moved
        if isinstance(openvla := values.get("openvla"), dict) and "lora" in openvla:
            values["openvla"] = {name: value for name, value in openvla.items() if name != "lora"}
            values["lora"] = openvla["lora"]
        return values

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, value: str) -> str:
        if value not in POLICIES:
            raise UnknownNameError("kind of policy", value, POLICIES)
        return value
