"""SmolVLA through the unchanged trainer: a first ratio of 1, cloning, resuming, two ranks, LIBERO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import toy_env
from tests.helpers.ranks import on_ranks, use_toy
from tests.helpers.runs import assert_same_run, finite, last_checkpoint
from tests.helpers.tiny_smolvla import SIDE, smolvla_input, tiny_smolvla, write_smolvla
from tests.helpers.toy_run import make_toy_envs
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import EnvConfig, RunConfig, SftConfig, TrainConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig
from tgrpo_trainer.recipes import get_recipe
from tgrpo_trainer.train import train

pytest.importorskip("lerobot", reason="LeRobot is not installed: pip install 'tgrpo[lerobot]' (Python 3.12)")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tests.helpers.toy_env.NEAR_RADIUS", 0.79)  # a drift earns something
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)


def smolvla_run(folder: Path, *, iterations: int = 1, lora: int = 0, **update: Any) -> TrainConfig:
    """The recipe, cut to the toy task."""
    if not (folder / "published").is_dir():
        write_smolvla(folder / "published")
    recipe = get_recipe("smolvla_libero")
    return recipe.replace(
        env=EnvConfig(image_size=16, action_chunk=3, horizon=12),
        policy=PolicyConfig(
            kind="smolvla",
            checkpoint=str(folder / "published"),
            lora=LoraConfig(rank=lora),
            smolvla=SmolVlaConfig(noise_level=2.5),  # a random policy that goes somewhere
        ),
        rollout={**recipe.rollout.model_dump(), "num_groups": 6, "num_generations": 4, "filter": "spread"},
        objective={**recipe.objective.model_dump(), "beta": 0.01, "old_logp": "scored"},
        update={**recipe.update.model_dump(), "learning_rate": 1e-3, "warmup_iterations": 0, **update},
        evaluation={**recipe.evaluation.model_dump(), "every": 10, "num_heldout": 1, "num_official": 1},
        run=RunConfig(name="run", folder=folder, iterations=iterations, device="cpu"),
    )


def test_the_recipe_learns_at_tiny_size(tmp_path: Path, toy: None) -> None:
    train(smolvla_run(tmp_path))
    (row,) = (finite(row) for row in read_metrics(tmp_path / "run") if "update/ratio_max" in row)
    # One minibatch, in the micro-batches that scored it: every ratio of the first step is 1.
    assert row["update/optimiser_steps"] == 1 and row["update/grad_norm"] > 0
    assert row["update/ratio_max"] == 1.0 and row["update/kl"] == 0.0 and row["update/approx_kl"] == 0.0
    assert abs(row["update/sampling_ratio_max"] - 1.0) < 1e-3  # drawn beside other rows
    first = load_policy(tmp_path / "run" / "checkpoints" / "iteration_000000" / "policy")
    last = last_checkpoint(tmp_path / "run").policy
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, last.state_dict()[name]) != parameter.requires_grad, name


def test_two_iterations_are_one_and_one(tmp_path: Path, toy: None) -> None:
    for name, lengths in (("whole", [2]), ("parts", [1, 2])):
        (tmp_path / name).mkdir()
        for iterations in lengths:
            config = smolvla_run(tmp_path / name, iterations=iterations, final_learning_rate_ratio=1.0)
            train(config.replace(evaluation={"every": 1, "num_heldout": 2, "num_official": 1}))
    assert_same_run(tmp_path / "parts" / "run", tmp_path / "whole" / "run")


def one_iteration(world: World, folder: Path) -> dict[str, Any]:
    use_toy(make_toy_envs)
    toy_env.NEAR_RADIUS = 0.79
    train(smolvla_run(folder), world)
    return {}


def test_two_ranks_learn_what_one_process_learns(tmp_path: Path, toy: None) -> None:
    for name in ("one", "two"):
        write_smolvla(tmp_path / name / "published")
    one_iteration(World(), tmp_path / "one")
    on_ranks(one_iteration, tmp_path / "two", folder=tmp_path / "two")
    one, two = (last_checkpoint(tmp_path / n / "run").policy for n in ("one", "two"))
    torch.testing.assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=1e-5)
    (row,) = (row for row in read_metrics(tmp_path / "two" / "run") if "update/ratio_max" in row)
    assert row["update/ratio_max"] == 1.0


def test_adapters_are_refused(tmp_path: Path, toy: None) -> None:
    with pytest.raises(ConfigError, match=r"policy\.lora\.rank is 4, but a policy of kind smolvla has no LoRA"):
        train(smolvla_run(tmp_path, lora=4))


def test_cloning_brings_actions_near_the_experts(tmp_path: Path) -> None:
    policy = tiny_smolvla(tmp_path)
    obs = smolvla_input(policy, ["reach the middle"] * 6)
    actions_MCA = torch.rand(6, 3, 7, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.4
    valid_MC, task_M = torch.ones(6, 3, dtype=torch.bool), torch.zeros(6, dtype=torch.int64)
    dataset = DemoDataset(obs.agentview_NHWC, obs.wrist_NHWC, obs.proprio_NP, actions_MCA, valid_MC, task_M, ("reach",))
    far = (policy.sample(obs, greedy=True).actions_NCA - actions_MCA).abs().mean()
    seen: list[float] = []
    config = SftConfig(max_steps=300, batch_size=24, learning_rate=1e-2)
    generator = torch.Generator().manual_seed(0)
    train_sft(policy, dataset, config=config, generator=generator, on_step=lambda _, now: seen.append(now["loss"]))
    near = (policy.sample(obs, greedy=True).actions_NCA - actions_MCA).abs().mean()
    assert sum(seen[-20:]) / 20 < 0.5 * sum(seen[:5]) / 5 and near < 0.6 * far


def test_a_bandit_that_depends_on_the_instruction_is_learnt(tmp_path: Path) -> None:
    """By its log-probabilities alone: the first number goes up for one instruction and down for the other."""
    policy = tiny_smolvla(tmp_path)
    obs = smolvla_input(policy, ["reach the middle", "pick up the bowl"] * 48)
    wanted_N = torch.tensor([0.4, -0.4] * 48)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser, generator = torch.optim.Adam(trained, lr=5e-3), torch.Generator().manual_seed(0)
    errors = []
    for _ in range(60):
        sample = policy.sample(obs, generator=generator)
        error_N = (sample.actions_NCA[:, 0, 0] - wanted_N).abs()
        errors.append(error_N.mean().item())
        advantage_N = (error_N.mean() - error_N) / error_N.std()
        optimiser.zero_grad()
        (-(advantage_N[:, None] * policy.log_prob(obs, sample.choices_NK).logp_NK[:, :1]).mean()).backward()
        optimiser.step()
    assert sum(errors[-5:]) < 0.6 * sum(errors[:5])
    high, low = policy.sample(obs, greedy=True).actions_NCA[:, 0, 0].view(-1, 2).mean(0).tolist()
    assert high > 0.15 and low < -0.15


def test_it_is_evaluated_and_trained_on_libero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real environment with primitive assets: a published folder is played, then one iteration learns from it."""
    write_smolvla(tmp_path / "published")
    used = ["--action-chunk", "3", "--image-size", str(SIDE), "--smolvla.noise-level", "0.5"]
    where = ["--suite", "libero_object", "--tasks", "4", "--states", "official", "--num-states", "2"]
    options = ["--assets", "primitive", "--horizon", "9", "--device", "cpu"]
    out = tmp_path / "evaluated"
    assert main(["eval", str(tmp_path / "published"), *used, *where, *options, "--out", str(out)]) == 0
    record = json.loads((out / "evaluation.json").read_text())
    assert record["policy"]["kind"] == "smolvla" and record["policy"]["openvla"] is None
    used = record["policy"]["smolvla"]
    assert (used["noise_level"], used["num_steps"], used["wrist"]) == (0.5, None, "observation.images.image2")
    arguments = {
        "policy.checkpoint": tmp_path / "published",
        "env.suite": "libero_object",
        "env.tasks": 4,
        "env.assets": "primitive",
        "env.action-chunk": 3,
        "env.image-size": SIDE,
        "env.horizon": 24,
        "env.credit.quantum": 1 / 4096,  # pay for the least progress
        "rollout.num-groups": 1,
        "rollout.num-generations": 2,
        "rollout.filter": "all",
        "objective.beta": 0.01,  # nine steps earn nothing, so the KL term is what is left
        "evaluation.num-heldout": 1,
        "evaluation.num-official": 1,
        "run.iterations": 1,
        "run.folder": tmp_path,
        "run.device": "cpu",
    }
    given = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    assert main(["train", "--recipe", "smolvla_libero", *given]) == 0
    run = tmp_path / "smolvla_libero"
    (row,) = (row for row in read_metrics(run) if "update/optimiser_steps" in row)
    assert row["update/optimiser_steps"] == 1 and row["update/ratio_max"] == pytest.approx(1.0, abs=1e-3)
    saved = last_checkpoint(run).policy
    assert (saved.image_size, saved.action_chunk) == (SIDE, 3)
    assert main(["eval", str(run), "--states", "official", "--num-states", "1", "--mode", "greedy"]) == 0
