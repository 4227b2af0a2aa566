"""PPO from a clone: it begins as the clone, its ratio is 1, it learns a bandit, and a study reads what a run leaves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from tgrpo_trainer.__main__ import main
from tgrpo_trainer.evaluation.result import load_evaluations
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from tgrpo_trainer.studies.actor_critic import CloneActorCritic, TokenActions
from tgrpo_trainer.studies.ppo import decisions_of_an_episode
from tgrpo_trainer.types import PolicyInput

NUM_ENVS = 8
BINS = 3
INSTRUCTION = "pick it up"


class Bandit(VecEnv):  # type: ignore[misc] # the library has no types here
    """Episodes of one decision: the share of its numbers that are 1 is the reward."""

    def __init__(self) -> None:
        picture = spaces.Box(0, 255, (16, 16, 3), np.uint8)
        proprio = spaces.Box(-np.inf, np.inf, (12,), np.float32)
        seen = spaces.Dict({"agentview": picture, "wrist": picture, "proprio": proprio})
        super().__init__(NUM_ENVS, seen, spaces.Box(-1.0, 1.0, (7,), np.float32))
        self._rng = np.random.default_rng(0)

    def _seen(self) -> dict[str, Any]:
        pictures_2NHWC = self._rng.integers(0, 256, (2, NUM_ENVS, 16, 16, 3), np.uint8)
        proprio_NP = self._rng.normal(size=(NUM_ENVS, 12)).astype(np.float32)
        return {"agentview": pictures_2NHWC[0], "wrist": pictures_2NHWC[1], "proprio": proprio_NP}

    def reset(self) -> Any:
        return self._seen()

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        assert actions.shape == (NUM_ENVS, 7)
        self._rewards_N = (actions == 1.0).mean(1)

    def step_wait(self) -> Any:
        last = self._seen()
        infos = [{"terminal_observation": {key: last[key][row] for key in last}} for row in range(NUM_ENVS)]
        return self._seen(), self._rewards_N, np.ones(NUM_ENVS, bool), infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * NUM_ENVS

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [None] * NUM_ENVS

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * NUM_ENVS


def bandit(actor: NanoPolicy, temperature: float = 0.5, **settings: Any) -> PPO:
    return PPO(
        CloneActorCritic,
        TokenActions(Bandit(), actor),
        n_steps=8,
        batch_size=64,
        seed=1,
        device="cpu",
        policy_kwargs={
            "temperature": temperature,
            "features_extractor_kwargs": {"actor": actor, "instruction": INSTRUCTION},
        },
        **settings,
    )


def words(actor: NanoPolicy) -> torch.Tensor:
    return actor.encode_instructions([INSTRUCTION]).expand(NUM_ENVS, -1)


@pytest.fixture
def actor() -> NanoPolicy:
    torch.manual_seed(0)
    return NanoPolicy(NanoConfig(image_size=16, action_chunk=1, num_bins=BINS))


def test_it_begins_as_the_clone_and_its_ratio_is_one(actor: NanoPolicy) -> None:
    before = {name: value.clone() for name, value in actor.state_dict().items()}
    policy = bandit(actor).policy
    assert all(torch.equal(value, before[name]) for name, value in actor.state_dict().items())
    trained = {id(one) for group in policy.optimizer.param_groups for one in group["params"]}
    assert {id(one) for one in actor.parameters()} <= trained
    upright = Bandit().reset()
    turn = VecTransposeImage.transpose_image
    obs = {name: torch.from_numpy(turn(rows) if rows.ndim == 4 else rows) for name, rows in upright.items()}
    tokens_NK, values_N1, logp_N = policy(obs)
    ours = PolicyInput.from_observation(upright, words(actor))
    torch.testing.assert_close(logp_N, actor.log_prob(ours, tokens_NK, 0.5).logp_NK.sum(1))
    again_N1, scored_N, entropy_N = policy.evaluate_actions(obs, tokens_NK.float())
    assert torch.equal(torch.exp(scored_N - logp_N), torch.ones(NUM_ENVS))
    assert torch.equal(values_N1, again_N1) and values_N1.shape == (NUM_ENVS, 1)
    assert ((entropy_N > 0) & (entropy_N <= 7 * math.log(BINS) + 1e-5)).all()


def test_the_critic_does_not_move_the_actor(actor: NanoPolicy) -> None:
    policy = bandit(actor).policy
    obs = {"agentview": torch.zeros(2, 3, 16, 16), "wrist": torch.zeros(2, 3, 16, 16), "proprio": torch.zeros(2, 12)}
    policy.predict_values(obs).sum().backward()
    assert all(one.grad is None for one in actor.parameters())
    assert any(one.grad is not None for one in policy.value_net.parameters())


def test_it_learns_which_numbers_pay(actor: NanoPolicy) -> None:
    """By chance a third of the numbers are 1."""
    seen = PolicyInput.from_observation(Bandit().reset(), words(actor))

    def share() -> float:
        return float((actor.sample(seen, greedy=True).choices_NK == BINS - 1).float().mean())

    assert share() < 0.7
    bandit(actor, learning_rate=3e-3).learn(8 * NUM_ENVS * 20)
    assert share() > 0.95


def test_a_run_leaves_what_a_study_reads(tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    few = ["--env.horizon", "16", "--rollout.num-groups", "2"]
    assert main(["sft", "--recipe", "smoke", "--run.folder", str(tmp_path), *few]) == 0
    clone = load_checkpoint(latest_checkpoint(folder / "last")).policy  # type: ignore[arg-type]
    assert main(["ppo", "--resume", str(folder), "--run.iterations", "2", *few]) == 0
    first, last = (load_evaluations(folder / "evaluations" / f"iteration_00000{i}.json") for i in (0, 2))
    assert [one.key for one in first] == [one.key for one in last]
    rows = [row for row in read_metrics(folder) if "rollout/success_rate" in row]
    assert [row["iteration"] for row in rows] == [1, 2]
    learnt = load_checkpoint(folder / "checkpoints" / "iteration_000002").policy
    assert any(not torch.equal(a, b) for a, b in zip(clone.parameters(), learnt.parameters(), strict=True))


def test_an_episode_has_so_many_decisions() -> None:
    config = smoke()
    for horizon, chunk, decisions in ((128, 8, 16), (130, 8, 17), (None, 7, 40)):  # LIBERO-Object ends after 280
        env = config.env.model_copy(update={"horizon": horizon, "action_chunk": chunk})
        assert decisions_of_an_episode(config.replace(env=env.model_dump())) == decisions


def test_without_a_clone_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smoke().save(tmp_path / "config.json")
    assert main(["ppo", "--resume", str(tmp_path)]) == 2
    assert "make it with sft" in capsys.readouterr().err
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=1))
    save_checkpoint(tmp_path / "last", iteration=3, policy=policy, state={})
    assert main(["ppo", "--resume", str(tmp_path)]) == 2
    assert "has learnt already" in capsys.readouterr().err
