"""A tiny OpenVLA through the whole trainer: rollout, update, evaluation, checkpoint and resume know nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.runs import finite, last_checkpoint
from tests.helpers.tiny_openvla import STATISTICS, openvla_input, tiny_openvla, write_checkpoint
from tests.helpers.toy_run import make_toy_envs, tiny_openvla_run
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.bc.initial_policy import start_policy
from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.recipes import get_recipe
from tgrpo_trainer.train import train


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr(
        "tests.helpers.toy_env.NEAR_RADIUS", 0.75
    )  # a drift of half a step earns something: groups differ
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)


@pytest.mark.parametrize(("chunk", "decoding"), [(1, "autoregressive"), (4, "parallel")])
def test_one_iteration_learns_saves_and_goes_on(tmp_path: Path, toy: None, chunk: int, decoding: str) -> None:
    config = tiny_openvla_run(tmp_path, chunk=chunk, decoding=decoding)
    train(config)
    metrics = next(finite(row) for row in read_metrics(tmp_path / "run") if "update/optimiser_steps" in row)
    # The only gradient step sees the policy that drew, which is also the reference: ratios of 1, no divergence.
    assert metrics["update/optimiser_steps"] == 1 and metrics["update/grad_norm"] > 0
    assert metrics["update/ratio_max"] == pytest.approx(1, abs=1e-3) and abs(metrics["update/kl"]) < 1e-6

    first = load_policy(tmp_path / "run" / "checkpoints" / "iteration_000000" / "policy")
    last = last_checkpoint(tmp_path / "run").policy
    assert isinstance(first, OpenVlaPolicy) and isinstance(last, OpenVlaPolicy) and first.settings == last.settings
    assert first.settings.unnorm_key == "libero_object" and first.action_chunk == chunk
    changed = {name for name, value in first.named_parameters() if not torch.equal(value, last.state_dict()[name])}
    assert {name.split(".")[1] for name in changed} == {"vision_backbone", "projector", "language_model"}
    assert not any("attn_pool" in name for name in changed)

    longer = config.replace(run={**config.run.model_dump(), "iterations": 2})
    train(longer)
    assert last_checkpoint(tmp_path / "run").iteration == 2


@pytest.mark.parametrize(
    ("name", "chunk", "lora"), [("openvla_libero_suite", 1, 4), ("openvla_oft_suite", 4, 0)], ids=["one by one", "oft"]
)
def test_recipes_for_a_suite_learn_at_tiny_size(tmp_path: Path, toy: None, name: str, chunk: int, lora: int) -> None:
    recipe = get_recipe(name)
    decoding = recipe.policy.openvla.decoding
    assert (recipe.env.action_chunk, decoding) == ((1, "autoregressive") if chunk == 1 else (8, "parallel"))
    config = tiny_openvla_run(tmp_path, chunk=chunk, lora=lora, decoding=decoding, gradient_checkpointing=True)
    train(
        config.replace(
            rollout={**recipe.rollout.model_dump(), "num_groups": 2, "filter": "spread"},  # nobody succeeds
            objective=recipe.objective,
            update={**recipe.update.model_dump(), "learning_rate": 1e-3},
        )
    )
    metrics = next(finite(row) for row in read_metrics(tmp_path / "run") if "update/optimiser_steps" in row)
    assert metrics["update/grad_norm"] > 0 and metrics["update/kl"] == 0


def test_it_starts_from_a_runs_checkpoint_as_from_a_published_one(tmp_path: Path) -> None:
    config = tiny_openvla_run(tmp_path)
    policy = start_policy(config, tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    policy.save(saved)
    other = config.replace(
        policy={**config.policy.model_dump(), "checkpoint": saved, "openvla": {"gradient_checkpointing": True}},
        env={**config.env.model_dump(), "suite": "libero_spatial", "image_size": 32},
    )
    again = start_policy(other, tmp_path)
    assert isinstance(again, OpenVlaPolicy)
    assert again.image_size == 32 and again.settings.unnorm_key == "libero_spatial"
    assert torch.equal(again.codec.low_A, torch.tensor(STATISTICS["libero_spatial"]["action"]["q01"]).double())
    assert again.settings.gradient_checkpointing


def test_what_cannot_work_is_refused_at_the_start(tmp_path: Path) -> None:
    config = tiny_openvla_run(tmp_path)
    nothing = config.replace(policy={"kind": "openvla"})
    with pytest.raises(ConfigError, match=r"--policy\.checkpoint"):
        start_policy(nothing, tmp_path)
    uncovered = config.replace(env={**config.env.model_dump(), "suite": "libero_90"})
    with pytest.raises(CheckpointError, match="libero_90"):
        start_policy(uncovered, tmp_path)
    with pytest.raises(ConfigError, match="parallel"):
        start_policy(config.replace(env={**config.env.model_dump(), "action_chunk": 8}), tmp_path)
    half = config.replace(
        policy={**config.policy.model_dump(), "openvla": {"dtype": "float16"}},
        update={**config.update.model_dump(), "optimizer": "adamw"},
    )
    with pytest.raises(ConfigError, match=r"adamw would step .* in float16.*; use adamw_master"):
        start_policy(half, tmp_path)
    with pytest.raises(CheckpointError, match=r"--policy\.kind openvla"):
        start_policy(config.replace(policy={"checkpoint": tmp_path / "published"}), tmp_path)


def clone_six(policy: OpenVlaPolicy, *, steps: int, learning_rate: float) -> list[float]:
    """The losses of cloning six made-up decisions."""
    obs = openvla_input(policy, ["reach the middle"] * 6)
    generator = torch.Generator().manual_seed(0)
    actions_MCA = torch.rand(6, 1, 7, generator=generator) - 0.5
    actions_MCA[:, :, 6] = torch.tensor([1.0, -1.0] * 3)[:, None]
    valid_MC, task_M = torch.ones(6, 1, dtype=torch.bool), torch.zeros(6, dtype=torch.int64)
    dataset = DemoDataset(obs.agentview_NHWC, obs.wrist_NHWC, obs.proprio_NP, actions_MCA, valid_MC, task_M, ("reach",))
    config = SftConfig(max_steps=steps, batch_size=8, learning_rate=learning_rate)
    seen: list[float] = []
    train_sft(policy, dataset, config=config, generator=generator, on_step=lambda _, now: seen.append(now["loss"]))
    return seen


def test_cloning_learns_demonstrations_by_heart(tmp_path: Path) -> None:
    seen = clone_six(tiny_openvla(tmp_path, image_size=16), steps=40, learning_rate=1e-2)
    # Before: about uniform over 256 bins (5.5 nats). The demonstrations' six pictures can be told apart.
    assert seen[0] > 4.0 and sum(seen[-5:]) / 5 < 2.5


def test_cloning_in_float16_is_cloning_in_float32(tmp_path: Path) -> None:
    whole, half = tiny_openvla(tmp_path, image_size=16), tiny_openvla(tmp_path, image_size=16).to(torch.float16)
    losses = [clone_six(policy, steps=20, learning_rate=2e-5) for policy in (whole, half)]
    assert losses[1] == pytest.approx(losses[0], abs=0.03) and losses[0][-1] < losses[0][0] - 0.2
    assert all(bool(parameter.isfinite().all()) for parameter in half.parameters())


@pytest.mark.slow
def test_the_command_line_trains_it_on_libero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """LIBERO's simulator with primitive assets and 64-pixel pictures, which the policy resizes to its own 28."""
    write_checkpoint(tmp_path / "published")
    options = {
        "policy.checkpoint": tmp_path / "published",
        "env.assets": "primitive",
        "env.image-size": 64,
        "env.horizon": 12,
        "rollout.num-groups": 1,
        "rollout.num-generations": 2,
        "objective.std-floor": 0.0,
        "evaluation.num-heldout": 1,
        "evaluation.num-official": 1,
        "run.iterations": 1,
        "run.folder": tmp_path,
        "run.device": "cpu",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert main(["train", "--recipe", "openvla_libero", *arguments]) == 0
    assert (tmp_path / "openvla_libero" / "report.html").is_file()
    policy = last_checkpoint(tmp_path / "openvla_libero").policy
    assert isinstance(policy, OpenVlaPolicy) and policy.image_size == 64
