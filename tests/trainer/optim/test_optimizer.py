"""Optimisers: a step by hand, beside torch's AdamW, small steps in bfloat16, exact resume, sharded state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.made_up import tiny_nano
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.optim import optimizer as module
from tgrpo_trainer.optim.optimizer import (
    MasterAdam,
    StochasticAdam,
    make_optimizer,
    optimizer_kind,
    round_stochastically,
    trained_parameters,
)
from tgrpo_trainer.optim.optimizer_files import param_groups

Module = TypeVar("Module", bound=nn.Module)
Kind = Literal["adamw", "adamw_master", "adamw_stochastic"]
KINDS: tuple[Kind, ...] = ("adamw", "adamw_master", "adamw_stochastic")


def network(dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(6, 5), stored(nn.Conv2d(2, 3, 3), torch.channels_last))
    return layers.to(dtype)


def stored(module: Module, memory_format: torch.memory_format) -> Module:
    """The module itself, its four-dimensional weights laid out so."""
    module.to(memory_format=memory_format)  # type: ignore[call-overload] # torch's types leave this one out
    return module


def optimizer_of(model: nn.Module, kind: Kind, lr: float = 1e-2, seed: int = 0) -> torch.optim.Optimizer:
    made = make_optimizer(model, UpdateConfig(optimizer=kind), seed)
    for group in made.param_groups:
        group["lr"] = lr
    return made


def random_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int], seed: int = 1) -> None:
    """Gradients from a stream of their own, so that two runs see the same."""
    for step in steps:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        optimizer.step()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def weight_after(kind: Kind, *, start: float, step: float, count: int, size: int = 1) -> Tensor:
    """A bfloat16 weight after steps of one length: with a constant gradient, Adam steps by the learning rate."""
    model = torch.nn.ParameterList([torch.full((size,), start, dtype=torch.bfloat16)])
    made = optimizer_of(model, kind, lr=step)
    for _ in range(count):
        model[0].grad = torch.ones(size, dtype=torch.bfloat16)
        made.step()
    return flat(model).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_steps_by_hand(dtype: torch.dtype) -> None:
    model = torch.nn.ParameterList([torch.tensor([2.0], dtype=dtype)])
    made = optimizer_of(model, "adamw_master", lr=0.5)
    model[0].grad = torch.tensor([4.0], dtype=dtype)
    made.step()
    # m = 0.4, v = 0.8; corrected by 1 - 0.9 and 1 - 0.95: 4 and 16, so the step is 0.5 * 4 / 4.
    assert model[0].item() == pytest.approx(1.5)
    model[0].grad = torch.tensor([-2.0], dtype=dtype)
    made.step()
    # m = 0.36 - 0.2 = 0.16, over 1 - 0.81; v = 0.76 + 0.2 = 0.96, over 1 - 0.9025.
    expected = 1.5 - 0.5 * (0.16 / 0.19) / math.sqrt(0.96 / 0.0975)
    exact = model[0] if dtype == torch.float32 else made.state[model[0]]["master"]
    assert exact.item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(model[0], exact.to(dtype))


def test_master_weights_in_float32_are_torchs_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 8)  # several slices of each tensor
    ours, theirs = network(torch.float32), network(torch.float32)
    reference = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    random_steps(ours, optimizer_of(ours, "adamw_master"), range(20))
    random_steps(theirs, reference, range(20))
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-6, atol=1e-7)


def test_adamw_is_torchs_bit_for_bit() -> None:
    ours, theirs = network(torch.float32), network(torch.float32)
    random_steps(ours, optimizer_of(ours, "adamw"), range(5))
    random_steps(theirs, torch.optim.AdamW(theirs.parameters(), 1e-2, (0.9, 0.95), weight_decay=0.0), range(5))
    assert torch.equal(flat(ours), flat(theirs))


def test_the_masters_are_what_adam_in_float32_would_give() -> None:
    low, high = network(torch.bfloat16), network(torch.bfloat16).to(torch.float32)
    optimizer = optimizer_of(low, "adamw_master")
    random_steps(low, optimizer, range(10))
    twin = optimizer_of(high, "adamw_master")
    for step in range(10):
        generator = torch.Generator().manual_seed(1000 + step)
        for parameter in high.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(torch.bfloat16).float()
        twin.step()
    masters = torch.cat([optimizer.state[parameter]["master"].flatten() for parameter in low.parameters()])
    assert torch.equal(masters, flat(high)) and torch.equal(flat(low), masters.to(torch.bfloat16))


def test_small_steps_are_lost_in_plain_bfloat16_and_kept_by_the_other_two() -> None:
    # From 1.0 a hundred steps of 1e-4 lead to 0.99; below 1 bfloat16 numbers lie 1/256 = 0.0039 apart.
    assert weight_after("adamw", start=1.0, step=1e-4, count=100).item() == 1.0
    assert weight_after("adamw_master", start=1.0, step=1e-4, count=100).item() == pytest.approx(0.99, abs=1 / 512)
    many = weight_after("adamw_stochastic", start=1.0, step=1e-4, count=100, size=4000)
    # Each is off by the sum of 100 roundings (below 0.0039 * 10 / 2 each); the mean of 4000 by a sixtieth of it.
    assert many.mean().item() == pytest.approx(0.99, abs=1.5e-3)
    assert many.std() > 0


def test_rounding_is_right_on_average_and_leaves_what_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    quarter = torch.full((40_000,), 1.0 + 0.25 / 128)
    rounded = round_stochastically(quarter, generator).float()
    assert set(rounded.tolist()) == {1.0, 1.0 + 1 / 128}
    assert (rounded > 1).float().mean().item() == pytest.approx(0.25, abs=0.01)
    down = round_stochastically(-quarter, generator).float()
    assert down.mean().item() == pytest.approx(-quarter[0].item(), abs=1e-4)
    exact = torch.randn(1000).to(torch.bfloat16)
    assert torch.equal(round_stochastically(exact.float(), generator), exact)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_goes_on_bit_for_bit(kind: Kind, tmp_path: Path) -> None:
    whole = network()
    random_steps(whole, optimizer_of(whole, kind, seed=5), range(6))

    first = network()
    optimizer = optimizer_of(first, kind, seed=5)
    random_steps(first, optimizer, range(3))
    torch.save({"weights": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    second = network(seed=9)
    second.load_state_dict(saved["weights"])
    resumed = optimizer_of(second, kind, seed=6)  # the saved seed counts
    resumed.load_state_dict(saved["optimizer"])
    random_steps(second, resumed, range(3, 6))
    assert torch.equal(flat(second), flat(whole))


def test_other_seeds_round_otherwise() -> None:
    results = []
    for seed in (0, 0, 1):
        model = network()
        random_steps(model, optimizer_of(model, "adamw_stochastic", lr=1e-3, seed=seed), range(4))
        results.append(flat(model))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_weights_never_reach_it(kind: Kind) -> None:
    model = network()
    frozen = model[0].requires_grad_(requires_grad=False)
    assert isinstance(frozen, nn.Linear)
    optimizer = optimizer_of(model, kind)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in model[1].parameters()}
    assert list(trained_parameters(model)) == ["1.weight", "1.bias"]
    before = frozen.weight.clone()
    random_steps(model, optimizer, range(2))
    assert torch.equal(frozen.weight, before)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adamw_stochastic rounds to bfloat16, but .* is float32"):
        make_optimizer(tiny_nano(), UpdateConfig(optimizer="adamw_stochastic"))
    for kind in ("adamw", "adamw_stochastic"):
        with pytest.raises(ConfigError, match=rf"{kind} .*0\.weight.* float16.*; use adamw_master\."):
            optimizer_of(network(torch.float16), kind)
    with pytest.raises(ConfigError, match="frozen"):
        make_optimizer(network().requires_grad_(requires_grad=False), UpdateConfig())


@pytest.mark.parametrize("kind", ["adamw_master", "adamw_stochastic"])
def test_a_step_makes_no_copy_of_a_large_tensor(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 64)

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not func.is_view and not func._schema.is_mutable:
                self.size = max(self.size, result.numel())
            return result

    model = torch.nn.Linear(16, 200, bias=False, dtype=torch.bfloat16)
    optimizer = optimizer_of(model, kind)
    random_steps(model, optimizer, range(1))
    with Largest() as largest:  # type: ignore[no-untyped-call]
        optimizer.step()
    assert 0 < largest.size <= 64


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("kind", ["adamw_master", "adamw_stochastic"])
def test_sharded_weights_step_alike_and_their_state_is_saved_by_name(kind: Kind, one_rank: None) -> None:
    plain, sharded = (stored(network(), torch.contiguous_format) for _ in range(2))
    fully_shard(sharded, mesh=dist.device_mesh.init_device_mesh("cpu", (1,)))
    shards = [parameter for parameter in sharded.parameters() if isinstance(parameter, DTensor)]
    optimizers = optimizer_of(plain, kind), optimizer_of(sharded, kind)
    random_steps(plain, optimizers[0], range(3))
    for step in range(3):
        generator = torch.Generator().manual_seed(1000 + step)
        for parameter in shards:
            gradient = torch.randn(parameter.shape, generator=generator).to(torch.bfloat16)
            parameter.grad = dist.tensor.distribute_tensor(gradient, parameter.device_mesh, parameter.placements)
        optimizers[1].step()
    whole = torch.cat([parameter.full_tensor().flatten() for parameter in shards])
    if kind == "adamw_master":
        assert torch.equal(whole, flat(plain))
    else:  # another shard, another draw: within a rounding of each of three steps
        torch.testing.assert_close(whole, flat(plain), rtol=3 / 128, atol=1e-3)

    saved: dict[str, Any] = get_optimizer_state_dict(sharded, optimizers[1])
    assert {"exp_avg", "exp_avg_sq", "step"} <= saved["state"]["0.weight"].keys()
    fresh = optimizer_of(sharded, kind)
    set_optimizer_state_dict(sharded, fresh, saved)
    for parameter in shards:
        for key, value in optimizers[1].state[parameter].items():
            again = fresh.state[parameter][key]
            assert again.dtype == value.dtype
            assert torch.equal(getattr(again, "_local_tensor", again), getattr(value, "_local_tensor", value))


def test_kinds_are_what_the_settings_name() -> None:
    model = network()
    for kind in KINDS:  # also where only the optimiser's own settings are left, as in a checkpoint
        assert optimizer_kind(param_groups(make_optimizer(model, UpdateConfig(optimizer=kind)))[0]) == kind
    assert type(make_optimizer(model, UpdateConfig(optimizer="adamw_master"))) is MasterAdam
    assert type(make_optimizer(model, UpdateConfig(optimizer="adamw_stochastic"))) is StochasticAdam
