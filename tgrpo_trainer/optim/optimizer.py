"""The optimisers: Adam in the weights' type, with float32 master weights, or in bfloat16 with stochastic rounding.

Between 1 and 2, bfloat16 numbers lie 1/128 apart, so a weight of 1.0 never notices a step of 1e-4: rounding to nearest
gives 1.0 back, every time. Bytes a trained parameter takes (weight, gradient, optimiser):

    adamw             as stored; bfloat16: 2 + 2 + (2 + 2)       =  8    loses small steps in bfloat16
                                 float32:  4 + 4 + (4 + 4)       = 16
                                 float16:  refused: eps and small squares are 0 there, and 0 / 0 is no step
    adamw_master      bfloat16: 2 + 2 + (4 master + 4 + 4)       = 16    Adam in float32, rounded for compute
    adamw_stochastic  bfloat16: 2 + 2 + (2 + 2)                  =  8    right on average: rounds up or down at random

A step works through one parameter after another, in slices, so it needs no further copy of anything.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import UpdateConfig

BETAS = (0.9, 0.95)
"""Adam's decay rates; the second is shorter than usual because a run has only some hundreds of steps."""
EPS = 1e-8
SLICE = 1 << 22
"""Numbers worked on at once: what a step needs beside its state is a few float32 arrays of this size (16 MiB each)."""

State = dict[str, Tensor]
"""One parameter's: `step` and tensors of the parameter's shape."""
Group = dict[str, Any]


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Those with a gradient, by name: frozen weights (LoRA's base, what OpenVLA stores and never runs) are left out."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def make_optimizer(policy: nn.Module, config: UpdateConfig, seed: int = 0) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over what is trained, at a learning rate of 0 until someone sets it.

    Args:
        policy: Its parameters are stepped in place.
        config: `optimizer` names the kind.
        seed: Of adamw_stochastic's rounding.

    Raises:
        ConfigError: See `refuse_unfit`.
    """
    refuse_unfit(policy, config)
    parameters = list(trained_parameters(policy).values())
    if config.optimizer == "adamw_master":
        return MasterAdam(parameters)
    if config.optimizer == "adamw_stochastic":
        return StochasticAdam(parameters, seed=seed)
    # The batched form (foreach), torch's default on a GPU, makes a temporary copy of all second moments.
    return torch.optim.AdamW(parameters, lr=0.0, betas=BETAS, eps=EPS, weight_decay=0.0, foreach=False)


def refuse_unfit(policy: nn.Module, config: UpdateConfig) -> None:
    """An optimiser that cannot train a policy is known before anything has been learnt.

    Raises:
        ConfigError: Nothing is trained, or adamw is to train float16 weights, or adamw_stochastic other than bfloat16.
    """
    trained = trained_parameters(policy)
    if not trained:
        raise ConfigError("Every parameter of the policy is frozen, so there is nothing to train.")
    for name, parameter in trained.items():
        dtype = str(parameter.dtype).removeprefix("torch.")
        if config.optimizer == "adamw" and dtype == "float16":
            raise ConfigError(
                f"update.optimizer adamw would step {name} in float16, where its eps of {EPS:g} and small squared "
                "gradients are 0 and weights become NaN; use adamw_master."
            )
        if config.optimizer == "adamw_stochastic" and dtype != "bfloat16":
            raise ConfigError(
                f"update.optimizer adamw_stochastic rounds to bfloat16, but {name} is {dtype}; use adamw_master."
            )


def optimizer_kind(group: Group) -> str:
    """The name in the settings of the optimiser that a group of its own settings belongs to, saved ones too."""
    if "seed" in group:
        return "adamw_stochastic"
    return "adamw" if "weight_decay" in group else "adamw_master"


class _ElementwiseAdam(torch.optim.Optimizer, abc.ABC):
    """Adam without weight decay, stepped parameter by parameter and slice by slice.

    Sharded parameters (DTensor) have sharded state, and each rank steps its own part: nothing here looks further than
    one number.
    """

    def __init__(self, params: list[nn.Parameter], **defaults: Any) -> None:
        super().__init__(params, {"lr": 0.0, "betas": BETAS, "eps": EPS, **defaults})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        index = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    if not state:
                        self._start(parameter, state)
                    state["step"] += 1.0
                    self._advance(parameter, parameter.grad, state, group, index)
                index += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, in the types it was in.

        torch's own method turns all state into the weights' type, which would round the master weights.
        """
        super().load_state_dict(state_dict)
        ids = (i for group in state_dict["param_groups"] for i in group["params"])
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        for i, parameter in zip(ids, parameters, strict=True):
            for key, value in state_dict["state"].get(i, {}).items():
                device = value.device if key == "step" else parameter.device
                self.state[parameter][key] = value.to(device, copy=True)

    @abc.abstractmethod
    def _start(self, parameter: nn.Parameter, state: State) -> None:
        """Fill a parameter's empty state."""

    @abc.abstractmethod
    def _advance(self, parameter: nn.Parameter, gradient: Tensor, state: State, group: Group, index: int) -> None:
        """Step one parameter; `index` is its place among all."""


class MasterAdam(_ElementwiseAdam):
    """Adam on float32 master weights with float32 moments; the weights are the masters, rounded.

    float32 weights are their own masters: then each step equals torch.optim.AdamW's without weight decay.
    """

    def _start(self, parameter: nn.Parameter, state: State) -> None:
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
        state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        if parameter.dtype != torch.float32:
            state["master"] = parameter.detach().to(torch.float32, copy=True)

    def _advance(self, parameter: nn.Parameter, gradient: Tensor, state: State, group: Group, index: int) -> None:  # noqa: ARG002
        master = state.get("master", parameter)
        moments = (state["exp_avg"], state["exp_avg_sq"])
        for weight, slope, exact, first, second in _slices(parameter, gradient, master, *moments):
            adam_(exact, slope.float(), first, second, step=state["step"].item(), group=group)
            if master is not parameter:
                weight.copy_(exact)


class StochasticAdam(_ElementwiseAdam):
    """Adam whose bfloat16 weights are rounded up or down at random, so that they are right on average.

    A number between two neighbours goes to the upper one with the probability of its distance from the lower one: of a
    hundred steps of 1/100 of the gap about one moves the weight. The moments are bfloat16 too, rounded to nearest: they
    move by 10 and 5 % towards the new gradient (BETAS), which bfloat16 can show; with torch's usual 0.999 it could not.

    The random numbers follow from the seed, the step, the parameter and the shard, so a resumed run draws the same; on
    another number of ranks it draws others.

    Args:
        params: All bfloat16.
        seed: Of the rounding; part of the saved state.
    """

    def __init__(self, params: list[nn.Parameter], *, seed: int) -> None:
        super().__init__(params, seed=seed)

    def _start(self, parameter: nn.Parameter, state: State) -> None:
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)

    def _advance(self, parameter: nn.Parameter, gradient: Tensor, state: State, group: Group, index: int) -> None:
        step = state["step"].item()
        words = np.random.SeedSequence([group["seed"], int(step), index, *_shard(parameter)]).generate_state(
            1, np.uint64
        )
        generator = torch.Generator(parameter.device).manual_seed(int(words[0] >> 1))
        moments = (state["exp_avg"], state["exp_avg_sq"])
        for weight, slope, first, second in _slices(parameter, gradient, *moments):
            exact, mean, square = weight.float(), first.float(), second.float()
            adam_(exact, slope.float(), mean, square, step=step, group=group)
            weight.copy_(round_stochastically(exact, generator))
            first.copy_(mean)
            second.copy_(square)


def adam_(weight: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, *, step: float, group: Group) -> None:
    """Adam (Kingma and Ba, 2015, algorithm 1) in place, in the order of operations of torch.optim.AdamW.

    Args:
        weight: float32, like the gradient and both moments.
        gradient: Of the loss.
        exp_avg: First moment.
        exp_avg_sq: Second moment.
        step: From 1.
        group: Holds `lr`, `betas` and `eps`.
    """
    beta1, beta2 = group["betas"]
    exp_avg.lerp_(gradient, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    deviation = (exp_avg_sq.sqrt() / (1 - beta2**step) ** 0.5).add_(group["eps"])
    weight.addcdiv_(exp_avg, deviation, value=-group["lr"] / (1 - beta1**step))


def round_stochastically(exact: Tensor, generator: torch.Generator) -> Tensor:
    """bfloat16, up with the probability of the distance from the lower neighbour, so that the mean is `exact`.

    bfloat16 is float32 without its last 16 bits: a random number below 2**16 is added to those, then they are dropped.
    """
    noise = torch.randint(0, 1 << 16, exact.shape, generator=generator, dtype=torch.int32, device=exact.device)
    return ((exact.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def _slices(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of tensors of one shape, cut alike along the first axis into parts of about SLICE numbers."""
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    if local[0].numel() <= SLICE:
        yield tuple(local)
        return
    rows = max(1, SLICE * len(local[0]) // local[0].numel())
    yield from zip(*(torch.split(tensor, rows) for tensor in local), strict=True)


def _shard(parameter: Tensor) -> list[int]:
    """Which part of a sharded parameter this rank has; replicas of a part agree."""
    if not isinstance(parameter, DTensor):
        return []
    coordinate = parameter.device_mesh.get_coordinate() or ()
    return [place for place, placement in zip(coordinate, parameter.placements, strict=True) if placement.is_shard()]
