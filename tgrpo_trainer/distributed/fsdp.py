"""An FSDP2 policy: sharded for updates, with an unsharded copy for rollouts.

Each rank keeps 1 / size of every parameter, of its gradient and of its optimiser state. A training pass gathers one
block after another and lets it go again. Rollouts cannot do that: a rank whose episodes end early would no longer take
part in the gathering. So weights are gathered once before a rollout, into a copy of the policy that knows nothing of
ranks, and no rank waits for another until all of its episodes have ended.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.policy.base import Policy


class ShardedPolicy:
    """A policy in both of its forms; for one process they are the same module.

    Args:
        policy: On the CPU or the world's device; taken over. With several ranks it is sharded in place, and every rank
            must give the same weights.
        world: The ranks.

    Attributes:
        policy: The one that learns.
    """

    def __init__(self, policy: Policy, world: World) -> None:
        self.policy = policy
        self._whole = policy
        if world.size == 1:
            policy.to(world.device)
            return
        self._whole = _hollow_copy(policy).to(world.device)
        shard(policy, world)

    @contextmanager
    def gathered(self) -> Iterator[Policy]:
        """The policy with all of its weights, for any calls in any order; all ranks enter together.

        With several ranks a copy, without gradients, that holds its memory only inside the `with`.
        """
        if self._whole is self.policy:
            yield self.policy
            return
        pairs = list(zip(self._whole.parameters(), self.policy.parameters(), strict=True))
        with torch.no_grad():
            for target, source in pairs:
                target.data = _whole(source).detach()
        try:
            yield self._whole
        finally:
            for target, _ in pairs:
                target.data = target.data.new_empty(0)


def shard(policy: Policy, world: World) -> None:
    """Spread the parameters over all ranks, in place, and move this rank's part to its device.

    Every element of a ModuleList (a transformer's blocks) is a unit that is gathered and let go by itself; all else is
    one unit that stays gathered from the beginning of a training pass to the end of its gradient. So is a policy
    without `whole_blocks`. Gradients are added up in float32.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    precision = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for parameter in policy.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP takes no other layout; nano's is channels-last
    lists = [module for module in policy.modules() if isinstance(module, nn.ModuleList) and policy.whole_blocks]
    blocks = [block for module in lists for block in module]
    for unit in [*reversed(blocks), policy]:
        fully_shard(unit, mesh=mesh, mp_policy=precision)


def full_state(module: nn.Module, world: World) -> dict[str, Tensor]:
    """The whole `state_dict` on the CPU of rank 0, gathered one tensor after another; empty on the other ranks."""
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        tensor = _whole(value)
        if world.is_main:
            state[name] = tensor.cpu()
    return state


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _hollow_copy(policy: Policy) -> Policy:
    """The same modules, with parameters that hold nothing yet."""
    hollow = {
        id(parameter): nn.Parameter(parameter.detach().new_empty(0), requires_grad=False)
        for parameter in policy.parameters()
    }
    # deepcopy takes what the memo holds under an object's id for its copy.
    return copy.deepcopy(policy, dict(hollow))
