"""Learning from OpenVLA-OFT's L1 head: exact densities, a first ratio of 1, cloning, saving, resuming, LoRA, LIBERO."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Laplace, Normal

from tests.helpers.runs import assert_same_run, finite, last_checkpoint
from tests.helpers.tiny_oft import tiny_oft, write_oft
from tests.helpers.tiny_openvla import openvla_input
from tests.helpers.toy_run import make_toy_envs, tiny_openvla_run
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig, TrainConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.recipes import get_recipe
from tgrpo_trainer.train import train

TEXTS = ["pick up the bowl", "reach the middle", "reach"]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tests.helpers.toy_env.NEAR_RADIUS", 0.75)  # a drift of half a step earns something
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)


@pytest.mark.parametrize(("noise", "theirs"), [("laplace", Laplace), ("gaussian", Normal)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.6])
def test_probabilities_are_torchs_around_the_heads_numbers(
    tmp_path: Path, noise: str, theirs: type[Laplace] | type[Normal], temperature: float
) -> None:
    policy = tiny_oft(tmp_path, noise=noise, noise_scale=0.3)
    obs = openvla_input(policy, TEXTS)
    mean_NK = policy.sample(obs, greedy=True).choices_NK
    sample = policy.sample(obs, temperature=temperature, generator=torch.Generator().manual_seed(1))
    scored = policy.log_prob(obs, sample.choices_NK, temperature)
    assert torch.equal(scored.logp_NK, sample.logp_NK)  # the same rows: bit for bit, so the ratio is exactly 1
    density: Any = theirs(mean_NK, torch.tensor(0.3 * (temperature if noise == "laplace" else math.sqrt(temperature))))
    torch.testing.assert_close(scored.logp_NK, density.log_prob(sample.choices_NK), rtol=0, atol=2e-5)
    torch.testing.assert_close(scored.entropy_NK, density.entropy(), rtol=0, atol=1e-5)
    assert policy.log_prob(obs, mean_NK).greedy_NK.all() and not scored.greedy_NK.all()
    assert torch.equal(sample.actions_NCA, policy.codec.from_numbers(sample.choices_NK))
    assert policy.counted(torch.arange(8)[None] < 3).sum() == 21


def test_gradients_are_those_of_the_closed_form(tmp_path: Path) -> None:
    """d log p / d log_scale of a Laplace: (|x - mean| / b - 1) db/dl / b, with db/dl = b - 0.01."""
    policy = tiny_oft(tmp_path, noise_scale=0.21)
    obs = openvla_input(policy, TEXTS[:1])
    mean_NK = policy.sample(obs, greedy=True).choices_NK
    policy.log_prob(obs, mean_NK + 0.42).logp_NK.sum().backward()
    # Eight control steps share a scale.
    expected = 8 * (0.42 / 0.21 - 1.0) * (0.21 - 0.01) / 0.21
    torch.testing.assert_close(policy.model.log_scale_A.grad, torch.full((7,), expected), rtol=0, atol=1e-4)
    head, projector = policy.model.action_head, policy.model.proprio_projector
    assert head is not None and all(parameter.grad is not None for parameter in head.parameters())
    gradient = None if projector is None else projector.fc1.weight.grad
    assert gradient is not None and gradient.abs().max() > 0


def test_cloning_fits_the_head_and_the_scale(tmp_path: Path) -> None:
    policy = tiny_oft(tmp_path, image_size=16)
    obs = openvla_input(policy, ["reach the middle"] * 6)
    actions_MCA = torch.rand(6, 8, 7, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.4
    actions_MCA[..., 6] = torch.tensor([1.0, -1.0] * 3)[:, None]
    valid_MC, task_M = torch.ones(6, 8, dtype=torch.bool), torch.zeros(6, dtype=torch.int64)
    dataset = DemoDataset(obs.agentview_NHWC, obs.wrist_NHWC, obs.proprio_NP, actions_MCA, valid_MC, task_M, ("reach",))
    seen: list[float] = []
    config = SftConfig(max_steps=60, batch_size=6, learning_rate=1e-2)
    before = policy.model.log_scale_A.clone()
    generator = torch.Generator().manual_seed(0)
    train_sft(policy, dataset, config=config, generator=generator, on_step=lambda _, now: seen.append(now["loss"]))
    assert sum(seen[-5:]) / 5 < seen[0] - 1.0 and not torch.equal(policy.model.log_scale_A, before)


def oft_run(folder: Path, *, lora: int = 0, iterations: int = 1, **update: Any) -> TrainConfig:
    """The recipe, cut to the toy task."""
    if not (folder / "published").is_dir():
        write_oft(folder / "published")
    recipe = get_recipe("openvla_oft_l1_suite")
    small = tiny_openvla_run(folder, iterations=iterations, chunk=4, lora=lora, decoding="parallel", noise_scale=0.5)
    return small.replace(
        rollout={**recipe.rollout.model_dump(), "num_groups": 2, "filter": "spread"},  # nobody succeeds
        objective={**recipe.objective.model_dump(), "beta": 0.01, "old_logp": "scored"},
        update={**recipe.update.model_dump(), "learning_rate": 1e-3, **update},
    )


@pytest.mark.parametrize("lora", [0, 4])
def test_the_recipe_learns_at_tiny_size(tmp_path: Path, toy: None, lora: int) -> None:
    assert get_recipe("openvla_oft_l1_suite").env.action_chunk == 8
    train(oft_run(tmp_path, lora=lora))
    (row,) = (finite(row) for row in read_metrics(tmp_path / "run") if "update/ratio_max" in row)
    # One minibatch, in the micro-batches that scored it: every ratio of the first step is 1.
    assert row["update/optimiser_steps"] == 1 and row["update/grad_norm"] > 0
    assert row["update/ratio_max"] == 1.0 and row["update/kl"] == 0.0 and row["update/approx_kl"] == 0.0
    assert abs(row["update/sampling_ratio_max"] - 1.0) < 1e-4  # drawn beside other rows
    first = load_policy(tmp_path / "run" / "checkpoints" / "iteration_000000" / "policy")
    last = last_checkpoint(tmp_path / "run").policy
    assert isinstance(last, OpenVlaPolicy)
    changed = {name for name, value in first.named_parameters() if not torch.equal(value, last.state_dict()[name])}
    assert {name.split(".")[1] for name in changed} >= {"action_head", "proprio_projector", "language_model"}
    assert ("model.log_scale_A" in changed) == (lora == 0)


def test_two_iterations_are_one_and_one(tmp_path: Path, toy: None) -> None:
    for name, lengths in (("whole", [2]), ("parts", [1, 2])):
        (tmp_path / name).mkdir()
        for iterations in lengths:
            config = oft_run(tmp_path / name, iterations=iterations, final_learning_rate_ratio=1.0)
            train(config.replace(evaluation={"every": 1, "num_heldout": 2, "num_official": 1}))
    assert_same_run(tmp_path / "parts" / "run", tmp_path / "whole" / "run")


def test_the_scale_is_saved_and_chosen_anew(tmp_path: Path) -> None:
    policy, saved = tiny_oft(tmp_path / "published"), tmp_path / "saved"
    torch.testing.assert_close(policy.model.scale(), torch.full((7,), 0.135))
    with torch.no_grad():
        policy.model.log_scale_A.add_(torch.arange(7) / 10)
    saved.mkdir()
    policy.save(saved)
    again = load_policy(saved)
    assert isinstance(again, OpenVlaPolicy) and torch.equal(again.model.log_scale_A, policy.model.log_scale_A)
    settings = OpenVlaSettings("libero_object", 32, 8, decoding="parallel", noise_scale=0.4)
    torch.testing.assert_close(OpenVlaPolicy.load(saved, settings).model.scale(), torch.full((7,), 0.4))
    with pytest.raises(ConfigError, match=r"noise_scale is 0\.01"):
        OpenVlaSettings("libero_object", noise_scale=0.01)


def test_adapters_are_merged_into_the_authors_layout(
    tmp_path: Path, toy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    train(oft_run(tmp_path, lora=4))
    out = tmp_path / "merged"
    assert main(["export", str(tmp_path / "run"), str(out)]) == 0
    trained = last_checkpoint(tmp_path / "run").policy
    merged = load_policy(out)
    assert isinstance(trained, OpenVlaPolicy)
    assert {path.name for path in out.glob("*.pt")} == {path.name for path in (tmp_path / "published").glob("*.pt")}
    obs = openvla_input(trained, TEXTS)
    theirs, ours = (each.sample(obs, greedy=True).choices_NK for each in (trained, merged))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_it_is_evaluated_and_trained_on_libero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real environment with primitive assets: a published folder is played, then one iteration learns from it."""
    write_oft(tmp_path / "published")
    used = ["--openvla.decoding", "parallel", "--action-chunk", "8", "--image-size", "64"]
    where = ["--suite", "libero_object", "--tasks", "4", "--states", "official", "--num-states", "2"]
    options = ["--assets", "primitive", "--horizon", "16", "--device", "cpu", "--mode", "sampled"]
    out = tmp_path / "evaluated"
    assert main(["eval", str(tmp_path / "published"), *used, *where, *options, "--out", str(out)]) == 0
    record = json.loads((out / "evaluation.json").read_text())
    assert record["policy"]["kind"] == "openvla"
    arguments = {
        "policy.checkpoint": tmp_path / "published",
        "policy.lora.rank": 0,
        "policy.openvla.noise-scale": 0.5,
        "env.suite": "libero_object",
        "env.tasks": 4,
        "env.assets": "primitive",
        "env.reward": "stages",
        "env.image-size": 64,
        "env.horizon": 16,
        "rollout.num-groups": 1,
        "rollout.num-generations": 2,
        "rollout.filter": "all",
        "evaluation.num-heldout": 1,
        "evaluation.num-official": 1,
        "run.iterations": 1,
        "run.folder": tmp_path,
        "run.device": "cpu",
    }
    given = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    assert main(["train", "--recipe", "openvla_oft_l1_suite", *given]) == 0
    run = tmp_path / "openvla_oft_l1_suite"
    (row,) = (row for row in read_metrics(run) if "update/optimiser_steps" in row)
    assert row["update/optimiser_steps"] == 1 and row["update/ratio_max"] == pytest.approx(1.0, abs=1e-4)
    policy = last_checkpoint(run).policy
    assert isinstance(policy, OpenVlaPolicy) and policy.settings.noise_scale == 0.5
