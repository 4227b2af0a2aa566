"""The update: schedule, micro-batches, refusals, exact resume, and that it makes rewarded actions likelier."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.made_up import build_batch, flat_gradient, flat_parameters, make_group, random_input, tiny_nano
from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.reference import SwappedReference, first_weights
from tgrpo_trainer.optim.update import PolicyUpdater, clip_gradients, gradient_cosine, learning_rate_at
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.run.checkpoint import load_checkpoint, save_checkpoint
from tgrpo_trainer.types import Batch, EpisodeEnd, PolicyInput, Trajectory, TrajectoryGroup

REWARDS = [[0.0, 0.5, 1.0], [0.25, 0.0], [1.0, 1.0, 0.5, 0.0]]


def updater_of(
    policy: NanoPolicy,
    *,
    beta: float = 0.0,
    reference: NanoPolicy | None = None,
    microbatch_size: int | None = None,
    **optimiser: Any,
) -> PolicyUpdater:
    pulls = None
    if reference is not None:
        pulls = SwappedReference(
            ShardedPolicy(policy, World()), first_weights(reference), temperature=1.0, microbatch_size=32
        )
    return PolicyUpdater(
        policy,
        pulls,
        objective=Tgrpo(beta=beta),
        optimiser=UpdateConfig(**{"warmup_iterations": 0, **optimiser}),
        temperature=1.0,
        total_iterations=10,
        microbatch_size=microbatch_size,
    )


def batch_of(policy: NanoPolicy, seed: int = 0) -> Batch:
    batch, _ = build_batch([make_group(policy, REWARDS, seed=seed)], Tgrpo())
    assert batch is not None
    return batch


def shuffler(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_learning_rate_warms_up_and_decays() -> None:
    config = UpdateConfig(learning_rate=1.0, warmup_iterations=3, final_learning_rate_ratio=0.3)
    rates = [learning_rate_at(iteration, config, 10) for iteration in range(11)]
    # 1/3, 2/3, then from 1 at iteration 2 in seven equal steps of 0.1 to 0.3 at iteration 9, and no further.
    expected = [1 / 3, 2 / 3, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.3]
    assert rates == pytest.approx(expected)
    assert learning_rate_at(0, UpdateConfig(learning_rate=1.0, warmup_iterations=0), 1) == 1.0


def test_the_first_step_sees_the_policy_that_drew() -> None:
    policy = tiny_nano()
    batch = batch_of(policy)
    metrics = updater_of(policy, num_iterations=1).update(batch, 0, shuffler())
    # At rho = 1 nothing is clipped and J is the weighted sum of the advantages.
    assert metrics["policy_loss"] == pytest.approx(-float((batch.weights_N * batch.advantages_N).sum()), abs=1e-5)
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["clip_ratio/low"] == metrics["clip_ratio/high"] == 0.0
    assert metrics["optimiser_steps"] == 1.0 and metrics["learning_rate"] == pytest.approx(2e-4)


def test_micro_batches_leave_gradient_and_metrics_unchanged() -> None:
    results = []
    for microbatch_size in (None, 4, 1):
        policy, reference = tiny_nano(), tiny_nano(seed=1)
        updater = updater_of(
            policy, beta=0.1, reference=reference, microbatch_size=microbatch_size, num_iterations=1, max_grad_norm=1e9
        )
        metrics = updater.update(batch_of(policy), 0, shuffler())
        results.append((flat_gradient(policy), metrics))
    for gradient, metrics in results[1:]:
        torch.testing.assert_close(gradient, results[0][0], rtol=1e-4, atol=1e-7)
        assert metrics == pytest.approx(results[0][1], rel=1e-4, abs=1e-6)


def test_each_minibatch_is_an_average_over_its_own_weights() -> None:
    # With every advantage 1 and rho at 1, J is 1 in each of the three minibatches, whatever rows it drew.
    policy = tiny_nano()
    batch = dataclasses.replace(batch_of(policy), advantages_N=torch.ones(9))
    updater = updater_of(policy, num_iterations=1, minibatch_size=3, microbatch_size=2, learning_rate=1e-9)
    metrics = updater.update(batch, 0, shuffler())
    assert metrics["optimiser_steps"] == 3.0 and metrics["policy_loss"] == pytest.approx(-1.0, abs=1e-5)


def test_every_row_is_used_once_a_pass_in_minibatches_of_nearly_equal_size() -> None:
    policy = tiny_nano()
    metrics = updater_of(policy, num_iterations=3, minibatch_size=4).update(batch_of(policy), 0, shuffler())
    assert metrics["optimiser_steps"] == 9.0  # nine rows: three minibatches of three, three times


def test_passes_end_where_the_trust_region_does() -> None:
    def optimiser_steps(**optimiser: Any) -> float:
        policy = tiny_nano()
        metrics = updater_of(policy, num_iterations=5, **optimiser).update(batch_of(policy), 0, shuffler())
        return metrics["optimiser_steps"]

    # One minibatch a pass. The first pass sees the policy that drew, so KL is 0 there and the second pass is the first
    # that can be too far.
    assert optimiser_steps(learning_rate=1e-2, target_kl=1e-6) == 2.0
    assert optimiser_steps(learning_rate=1e-2, target_kl=1e3) == 5.0
    assert optimiser_steps(learning_rate=1e-12, target_kl=1e-3) == 5.0


def test_the_cosine_of_two_gradients() -> None:
    assert gradient_cosine(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0]), World()) == pytest.approx(0.6)
    assert gradient_cosine(torch.tensor([3.0, 4.0]), torch.tensor([4.0, -3.0]), World()) == 0.0
    assert gradient_cosine(torch.zeros(2), torch.ones(2), World()) == 0.0


def test_the_gradients_of_two_halves_agree_where_the_halves_do() -> None:
    # Each row twice, and no step in between: whatever half a row falls into, only the shuffle tells the halves apart.
    policy = tiny_nano()
    row = batch_of(policy).rows(torch.zeros(8, dtype=torch.int64))
    same = updater_of(policy, num_iterations=1, minibatch_size=4, learning_rate=1e-12, gradient_cosine=True)
    assert same.update(row, 0, shuffler())["grad_cosine"] == pytest.approx(1.0, abs=1e-4)
    # Rewarded in one half, punished in the other.
    row = dataclasses.replace(row, advantages_N=torch.tensor([1.0, -1.0] * 4))
    opposite = updater_of(policy, num_iterations=1, minibatch_size=1, learning_rate=1e-12, gradient_cosine=True)
    cosines = {round(opposite.update(row, 0, shuffler(seed))["grad_cosine"]) for seed in range(8)}
    assert cosines == {-1, 1}
    silent = updater_of(policy, num_iterations=1, minibatch_size=4).update(batch_of(policy), 0, shuffler())
    assert "grad_cosine" not in silent


def test_kl_is_zero_to_itself_and_pulls_back_towards_the_reference() -> None:
    policy, reference = tiny_nano(), tiny_nano()
    batch = dataclasses.replace(batch_of(policy), advantages_N=torch.zeros(9))
    metrics = updater_of(policy, beta=1.0, reference=reference, num_iterations=1).update(batch, 0, shuffler())
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-6)

    far = tiny_nano(seed=3)
    batch = dataclasses.replace(batch_of(far), advantages_N=torch.zeros(9))
    updater = updater_of(far, beta=1.0, reference=reference, num_iterations=20, learning_rate=1e-3)
    first = updater.update(batch, 0, shuffler())["kl"]
    last = updater.update(batch, 0, shuffler())["kl"]
    assert 0.0 < last < first
    assert torch.equal(flat_parameters(reference), flat_parameters(tiny_nano()))


def test_a_non_finite_loss_is_refused_before_the_step() -> None:
    policy = tiny_nano()
    batch, before = batch_of(policy), flat_parameters(policy)
    broken = dataclasses.replace(batch, advantages_N=torch.full((9,), float("nan")))
    with pytest.raises(TrainingError, match=r"loss is nan.*weights are unchanged"):
        updater_of(policy).update(broken, 0, shuffler())
    assert torch.equal(flat_parameters(policy), before)


def test_gradients_are_clipped_to_the_norm_and_refused_when_infinite() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]))
    weight.grad = torch.tensor([float("inf"), 0.0])
    with pytest.raises(TrainingError, match="norm"):
        clip_gradients([weight], 1.0)


def test_reference_and_beta_belong_together() -> None:
    with pytest.raises(ConfigError, match="reference"):
        updater_of(tiny_nano(), beta=0.1)
    with pytest.raises(ConfigError, match="reference"):
        updater_of(tiny_nano(), reference=tiny_nano())


def test_resuming_from_a_checkpoint_is_bitwise_the_same(tmp_path: Path) -> None:
    def iterate(
        policy: NanoPolicy, updater: PolicyUpdater, generator: torch.Generator, iterations: Iterable[int]
    ) -> None:
        for iteration in iterations:
            updater.update(batch_of(policy, seed=iteration), iteration, generator)

    straight, generator = tiny_nano(), shuffler()
    iterate(straight, updater_of(straight, minibatch_size=4), generator, range(4))

    policy, generator = tiny_nano(), shuffler()
    updater = updater_of(policy, minibatch_size=4)
    iterate(policy, updater, generator, range(2))
    state = {"generator": generator.get_state()}
    folder = save_checkpoint(tmp_path, iteration=2, policy=policy, state=state, optimizer=updater.optimizer)

    checkpoint = load_checkpoint(folder)
    resumed, generator = checkpoint.policy, torch.Generator()
    assert isinstance(resumed, NanoPolicy)
    generator.set_state(checkpoint.state["generator"])
    updater = updater_of(resumed, minibatch_size=4)
    checkpoint.restore_optimizer(resumed, updater.optimizer)
    iterate(resumed, updater, generator, range(2, 4))
    assert torch.equal(flat_parameters(resumed), flat_parameters(straight))


def test_a_rewarded_token_becomes_likely() -> None:
    """A bandit: the reward is 1 when the first number of the action is the highest bin, at one fixed observation."""
    policy, reference = tiny_nano(), tiny_nano()
    rows = random_input(1)
    obs = PolicyInput.cat([rows] * 16)
    wanted = torch.tensor([[4, 0, 0, 0, 0, 0, 0]])
    updater = updater_of(policy, beta=0.02, reference=reference, learning_rate=2e-3, num_iterations=4)
    generator = shuffler(7)
    before = policy.log_prob(rows, wanted).logp_NK[0, 0].exp().item()
    for iteration in range(10):
        sample = policy.sample(obs, generator=generator)
        members = tuple(
            Trajectory(
                observations=obs.rows(slice(i, i + 1)),
                choices_TK=sample.choices_NK[i : i + 1],
                logp_TK=sample.logp_NK[i : i + 1],
                executed_TK=torch.ones(1, 7, dtype=torch.bool),
                rewards_T=(sample.choices_NK[i : i + 1, 0] == 4).double(),
                stage_T=torch.zeros(1, dtype=torch.int64),
                end=EpisodeEnd.HORIZON,
                progress=0.0,
                control_steps=1,
            )
            for i in range(16)
        )
        batch, _ = build_batch([TrajectoryGroup(members, "bandit")], Tgrpo())
        if batch is not None:
            updater.update(batch, iteration, generator)
    after = policy.log_prob(rows, wanted).logp_NK[0, 0].exp().item()
    assert before < 0.35 and after > 0.8


@pytest.mark.gpu
def test_a_policy_on_the_gpu_learns_from_a_batch_on_the_cpu() -> None:
    results = []
    for device in ("cpu", "cuda"):
        policy, reference = tiny_nano(), tiny_nano(seed=1)
        batch = batch_of(policy)
        updater = updater_of(policy.to(device), beta=0.1, reference=reference.to(device), num_iterations=1)
        results.append(updater.update(batch, 0, shuffler()))
        sample = policy.sample(random_input(4).to(device))
        assert sample.actions_NCA.device.type == device
    assert results[1] == pytest.approx(results[0], rel=1e-3, abs=1e-4)


def test_the_batch_is_left_as_it_was() -> None:
    policy = tiny_nano()
    batch = batch_of(policy)
    kept = copy.deepcopy(batch)
    updater_of(policy).update(batch, 0, shuffler())
    for field in dataclasses.fields(batch):
        ours, theirs = getattr(batch, field.name), getattr(kept, field.name)
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else len(ours) == len(theirs)
