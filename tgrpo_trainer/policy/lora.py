"""LoRA through peft: adapters beside frozen linear layers, in peft's own files, and merged into the weights they adapt.

    y = W x + alpha / rank * B A x          A: rank rows, random; B: rank columns, zero: nothing changes at first

The adapters have the type of the weights they adapt, and no dropout: a token's probability must be the same when it is
drawn and when it is learnt from. In bfloat16, `update.optimizer adamw_master` keeps their small steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer  # peft takes seconds to import, and only LoRA runs need it

ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
"""What peft writes before a module's name in its files."""
NAME = "default"
"""peft's name for the only adapter of a model."""

Targets = Literal["all-linear", "language-model"]


@dataclass(frozen=True)
class LoraSettings:
    """What shapes the adapters.

    Attributes:
        rank: Rows of A and columns of B.
        alpha: The adapters' output is multiplied by alpha / rank.
        targets: Every layer with weights that is run, as in OpenVLA's own fine-tuning, or only the language model's.
    """

    rank: int = 32
    alpha: float = 16.0
    targets: Targets = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ConfigError(f"LoRA with rank {self.rank} and alpha {self.alpha}: both must be above 0.")


def add_adapters(model: nn.Module, settings: LoraSettings, targets: Sequence[str], seed: int) -> None:
    """Freeze a model and put fresh adapters beside some of its layers, in place; its output stays as it is.

    Args:
        model: Linear layers and convolutions, on the CPU or the meta device.
        settings: Rank and scale.
        targets: Full names of the layers to adapt.
        seed: Of A; drawn from a normal distribution with deviation 1 / rank, as in OpenVLA's fine-tuning.

    Raises:
        ConfigError: The rank is larger than a layer, where LoRA saves nothing.
    """
    from peft import LoraConfig, inject_adapter_in_model

    narrowest = min(targets, key=lambda name: _side(model.get_submodule(name)))
    if settings.rank > _side(model.get_submodule(narrowest)):
        raise ConfigError(
            f"LoRA's rank is {settings.rank}, more than {narrowest} is wide "
            f"({_side(model.get_submodule(narrowest))}); OpenVLA's own fine-tuning uses 32."
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # an int in its annotation, only divided by r
        target_modules=list(targets),
        init_lora_weights="gaussian",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=NAME)


def adapted_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The layers that have an adapter, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Inside a `with`, the model is the one before its adapters learnt anything."""
    layers = adapted_layers(model).values()
    try:
        _switch(model, layers, on=False)
        yield
    finally:
        _switch(model, layers, on=True)


def rows_from_adapter(layer: nn.Module, rows: slice) -> Tensor:
    """What the adapter of a linear layer adds to some rows of its weight, in float32; 0 while it is switched off."""
    adapted: Any = layer
    first, second = adapted.lora_A[NAME].weight.float(), adapted.lora_B[NAME].weight[rows].float()
    scale: float = 0.0 if adapted.disable_adapters else adapted.scaling[NAME]
    change: Tensor = second @ first * scale
    return change


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Add the adapters to the weights and take them out of the model, in place: its names are the base's again.

    The sum is taken in float32 and rounded once to the weights' type.
    """
    for name, layer in adapted_layers(model).items():
        three: Any = (layer.get_base_layer().weight, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight)
        weight, first, second = three
        change = (second.float().flatten(1) @ first.float().flatten(1)).view_as(weight) * layer.scaling[NAME]
        weight.copy_(weight.float() + change)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    for module in model.modules():
        vars(module).pop("peft_config", None)  # so that peft puts new adapters in as the only ones


def save_adapters(folder: Path, model: nn.Module, base: str, state: Mapping[str, Tensor]) -> None:
    """Write the adapters as peft does, so that `PeftModel.from_pretrained` reads them.

    Args:
        folder: Exists.
        model: With adapters.
        base: Where the adapted model is to be had, for people and for peft.
        state: The model's whole `state_dict`; of a model spread over ranks, its modules only hold parts.
    """
    peft_config: Any = model.peft_config
    config = peft_config[NAME].to_dict() | {"base_model_name_or_path": base, "inference_mode": True}
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / ADAPTER_CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(_adapter_state(state), folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})


@torch.no_grad()
def load_adapters(folder: Path, model: nn.Module) -> None:
    """Fill a model's adapters with what `save_adapters` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, or of adapters of another model, rank or type.
    """
    path = folder / ADAPTER_WEIGHTS_FILE
    try:
        stored = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from error
    mine = _adapter_state(model.state_dict())
    wrong = sorted(stored.keys() ^ mine.keys()) or sorted(
        name for name, value in mine.items() if (value.shape, value.dtype) != (stored[name].shape, stored[name].dtype)
    )
    if wrong:
        raise CheckpointError(
            f"{path} holds adapters of another model, rank or type ({len(wrong)} tensors differ, such as {wrong[0]})."
        )
    for name, value in mine.items():
        value.copy_(stored[name])


def _adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters' weights under the names of peft's files."""
    ending = f".{NAME}.weight"
    return {
        f"{PEFT_PREFIX}{name.removesuffix(ending)}.weight": value.detach().contiguous()
        for name, value in state.items()
        if name.endswith((f"lora_A{ending}", f"lora_B{ending}"))
    }


def _switch(model: nn.Module, layers: Any, *, on: bool) -> None:
    """Peft freezes adapters it switches off; whoever shards parameters must never see that, so it is undone."""
    needed = {parameter: parameter.requires_grad for parameter in model.parameters()}
    for layer in layers:
        layer.enable_adapters(enabled=on)
    for parameter, requires_grad in needed.items():
        parameter.requires_grad_(requires_grad)


def _side(layer: nn.Module) -> int:
    """The smaller side of a layer's weight as a matrix, the most rank it can have."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return min(weight.flatten(1).shape)
