"""SmolVLA beside LeRobot's own classes: what it is shown, actions, densities and losses; saved for LeRobot to load."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributions import Normal

from tests.helpers.tiny_smolvla import (
    CHUNK,
    IMAGE,
    STATISTICS,
    STEPS,
    WRIST,
    smolvla_input,
    tiny_smolvla,
    write_smolvla,
)
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.smolvla.policy import SmolVlaPolicy
from tgrpo_trainer.policy.smolvla.settings import SmolVlaSettings
from tgrpo_trainer.types import PolicyInput

pytest.importorskip("lerobot", reason="LeRobot is not installed: pip install 'tgrpo[lerobot]' (Python 3.12)")

TEXTS = ["reach the middle", "pick up the bowl and place it in the basket", "reach"]
SETTINGS = SmolVlaSettings(image_size=32, action_chunk=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvla")
    write_smolvla(folder / "published")
    return folder


@pytest.fixture
def policy(folder: Path) -> SmolVlaPolicy:
    return tiny_smolvla(folder)


def lerobots_batch(folder: Path, obs: PolicyInput) -> tuple[Any, dict[str, Any], Any]:
    """The same moment as LeRobot's LIBERO environment gives it, through its own processors."""
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from lerobot.processor.env_processor import LiberoProcessorStep

    theirs = SmolVLAPolicy.from_pretrained(folder)
    before, after = make_pre_post_processors(theirs.config, pretrained_path=str(folder))
    # LIBERO draws upside down.
    raw = [pictures.flip(1).permute(0, 3, 1, 2).float() / 255 for pictures in (obs.agentview_NHWC, obs.wrist_NHWC)]
    # The hand's first column is the grip site's second. A hand that points down: w = z = 0, x^2 = (1 + r11) / 2,
    # y = r21 / (2 x), and LIBERO's x is positive.
    first_N3 = obs.proprio_NP[:, 6:9]
    x_N = ((1 + first_N3[:, 0]) / 2).sqrt()
    zero_N = torch.zeros_like(x_N)
    quaternion_N4 = torch.stack([x_N, first_N3[:, 1] / (2 * x_N), zero_N, zero_N], dim=1)
    robot = {"eef": {"pos": obs.proprio_NP[:, :3], "quat": quaternion_N4}, "gripper": {"qpos": obs.proprio_NP[:, 9:11]}}
    observation = {IMAGE: raw[0], f"{IMAGE}2": raw[1], "observation.robot_state": robot}
    return theirs, before({**LiberoProcessorStep().observation(observation), "task": TEXTS}), after


def whole_chunk(first_NX: Tensor) -> Tensor:
    """For LeRobot, which predicts all control steps: those behind a decision's do not reach it, whatever they hold."""
    return torch.cat([first_NX.view(3, 3, 9), torch.randn(3, CHUNK - 3, 9)], dim=1)


def test_greedy_actions_are_lerobots(folder: Path, policy: SmolVlaPolicy) -> None:
    obs = smolvla_input(policy, TEXTS)
    theirs, batch, after = lerobots_batch(folder / "published", obs)
    noise = whole_chunk(policy.greedy_noise_1X.repeat(3, 1))
    chunk_NCA = after(theirs.predict_action_chunk(dict(batch), noise=noise))
    ours = policy.sample(obs, greedy=True)
    torch.testing.assert_close(ours.actions_NCA, chunk_NCA[:, :3].clamp(-1, 1), rtol=0, atol=1e-5)
    assert 0.05 < ours.actions_NCA.std() < 1 and ours.actions_NCA.abs().max() <= 1
    one_by_one = [after(theirs.select_action(dict(batch), noise=noise)) for _ in range(3)]
    torch.testing.assert_close(ours.actions_NCA, torch.stack(one_by_one, dim=1).clamp(-1, 1), rtol=0, atol=1e-5)
    # Each of the inputs matters, so that all of them are compared.
    for name in ("agentview_NHWC", "wrist_NHWC", "proprio_NP", "instruction_NL"):
        other = {**vars(obs), name: getattr(obs, name).flip(0)}
        assert (policy.sample(PolicyInput(**other), greedy=True).actions_NCA - ours.actions_NCA)[0].abs().max() > 1e-4


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_log_probabilities_are_those_of_lerobots_flow(folder: Path, policy: SmolVlaPolicy, temperature: float) -> None:
    """The path scored again by hand, with velocities from LeRobot's own loop, one step at a time."""
    obs = smolvla_input(policy, TEXTS)
    sample = policy.sample(obs, temperature=temperature, generator=torch.Generator().manual_seed(1))
    scored = policy.log_prob(obs, sample.choices_NK, temperature)
    assert torch.equal(scored.logp_NK, sample.logp_NK)  # the same rows: bit for bit, so the ratio is exactly 1
    theirs, batch, _ = lerobots_batch(folder / "published", obs)
    images, masks = theirs.prepare_images(batch)
    texts = (batch["observation.language.tokens"], batch["observation.language.attention_mask"])
    state = theirs.prepare_state(batch)
    start, path = sample.choices_NK.tensor_split([3 * 9], dim=1)
    x, path, logp = whole_chunk(start), path.view(3, STEPS, 3, 7), torch.zeros(3, 3, 7)
    for index in range(STEPS):
        t, dt = 1 - index / STEPS, 1 / STEPS
        # LeRobot's loss is (noise - actions - v)^2 at x = t noise + (1 - t) actions; at noise = actions = x it is v^2.
        squared = theirs.model.forward(images, masks, *texts, state, x, x, torch.full((3,), t)).detach()
        up = theirs.model.forward(images, masks, *texts, state, x - t, x + (1 - t), torch.full((3,), t)).detach()
        v = (squared - up + 1) / 2  # (1 - v)^2 = 1 - 2 v + v^2
        std = math.sqrt(t * dt * temperature)
        mean = (x - dt * v - dt / 2 * (x + (1 - t) * v))[:, :3, :7]
        normal: Any = Normal(mean, std)  # torch has no types here
        logp += normal.log_prob(path[:, index])
        x = x - dt * v
        x[:, :3, :7] = path[:, index]
    torch.testing.assert_close(sample.logp_NK, logp.flatten(1), rtol=0, atol=2e-4)
    drawn: list[Any] = [Normal(0, math.sqrt(temperature * (STEPS - i)) / STEPS) for i in range(STEPS)]
    entropy = torch.stack([normal.entropy() for normal in drawn]).sum()
    torch.testing.assert_close(scored.entropy_NK, entropy.expand(3, 21), rtol=0, atol=1e-5)
    last = path[:, -1] * STATISTICS["action"]["std"] + STATISTICS["action"]["mean"]
    torch.testing.assert_close(sample.actions_NCA, last.clamp(-1, 1))
    assert torch.equal(policy.counted(torch.tensor([[True, True, False]])), torch.arange(21)[None] < 14)


def test_the_loss_of_cloning_is_lerobots(folder: Path, policy: SmolVlaPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    obs = smolvla_input(policy, TEXTS)
    theirs, batch, _ = lerobots_batch(folder / "published", obs)
    actions_NCA = torch.rand(3, 3, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = {}
    forward = policy.lerobot.model.forward

    def watched(*arguments: Any) -> Any:
        seen["noise"], seen["time"] = arguments[-2:]
        return forward(*arguments)

    monkeypatch.setattr(policy.lerobot.model, "forward", watched)
    terms = policy.bc_loss(obs, actions_NCA)
    normal = (actions_NCA - STATISTICS["action"]["mean"]) / STATISTICS["action"]["std"]
    batch["action"] = torch.cat([normal, torch.randn(3, CHUNK - 3, 7)], dim=1)
    batch["action_is_pad"] = (torch.arange(CHUNK) >= 3).expand(3, -1)
    loss, _ = theirs.forward(batch, noise=whole_chunk(seen["noise"]), time=seen["time"])
    torch.testing.assert_close(terms.loss_NK.mean(), loss, rtol=1e-5, atol=1e-6)
    again = tiny_smolvla(folder)
    assert torch.equal(again.bc_loss(obs, actions_NCA).loss_NK, terms.loss_NK)  # the same noise in every run
    assert not torch.equal(again.bc_loss(obs, actions_NCA).loss_NK, terms.loss_NK)  # and another in every step
    many = torch.zeros(2000, dtype=torch.int64)
    policy.bc_loss(obs.rows(many), actions_NCA[many])
    beta = torch.distributions.Beta(1.5, 1.0).sample((100_000,)) * 0.999 + 0.001  # as LeRobot draws its times
    for quantile in (0.1, 0.5, 0.9):
        assert seen["time"].quantile(quantile).item() == pytest.approx(beta.quantile(quantile).item(), abs=0.04)


@pytest.mark.parametrize("frozen", [True, False])
def test_only_what_lerobot_trains_is_trained(tmp_path: Path, frozen: bool) -> None:
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    write_smolvla(tmp_path / "published", train_expert_only=frozen, freeze_vision_encoder=frozen)
    policy = tiny_smolvla(tmp_path)
    theirs = SmolVLAPolicy.from_pretrained(tmp_path / "published")
    trained = {name for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    assert {f"lerobot.{name}" for name in trained} == {n for n, p in policy.named_parameters() if p.requires_grad}
    obs = smolvla_input(policy, TEXTS)
    sample = policy.sample(obs, generator=torch.Generator().manual_seed(0))
    policy.log_prob(obs, sample.choices_NK).logp_NK.sum().backward()
    for name, parameter in policy.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved == parameter.requires_grad, name


def test_gradients_are_the_finite_differences(policy: SmolVlaPolicy) -> None:
    obs = smolvla_input(policy, TEXTS[:1])
    choices_NK = policy.sample(obs, generator=torch.Generator().manual_seed(0)).choices_NK
    bias = policy.lerobot.model.action_out_proj.bias
    policy.log_prob(obs, choices_NK).logp_NK.sum().backward()
    for place in (0, 8):  # 8 pads an action: it has no noise, and reaches the density by way of the next step
        numbers = []
        for change in (1e-2, -1e-2):
            with torch.no_grad():
                bias[place] += change
                numbers.append(policy.log_prob(obs, choices_NK).logp_NK.sum().item())
                bias[place] -= change
        assert bias.grad[place].item() == pytest.approx((numbers[0] - numbers[1]) / 2e-2, rel=2e-2, abs=1e-2)


def test_lerobot_loads_what_is_saved_and_acts_alike(folder: Path, policy: SmolVlaPolicy, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.01)
    policy.save(tmp_path, {name: value.clone() for name, value in policy.state_dict().items()})
    obs = smolvla_input(policy, TEXTS)
    theirs, batch, after = lerobots_batch(tmp_path, obs)
    assert (theirs.config.n_action_steps, theirs.config.num_steps) == (3, STEPS)
    noise = whole_chunk(policy.greedy_noise_1X.repeat(3, 1))
    chunk_NCA = after(theirs.predict_action_chunk(dict(batch), noise=noise))
    ours = policy.sample(obs, greedy=True)
    torch.testing.assert_close(ours.actions_NCA, chunk_NCA[:, :3].clamp(-1, 1), rtol=0, atol=1e-5)
    again = load_policy(tmp_path)
    assert again.settings == policy.settings
    assert torch.equal(again.sample(obs, greedy=True).choices_NK, ours.choices_NK)
    written, published = ({path.name for path in each.iterdir()} for each in (tmp_path, folder / "published"))
    assert written == published | {"tgrpo.json"}
    assert load_file(tmp_path / "model.safetensors").keys() == load_file(folder / "published/model.safetensors").keys()


def test_weights_keep_the_type_they_are_stored_in(folder: Path, tmp_path: Path) -> None:
    """lerobot-train leaves the language model in bfloat16 where it began with published weights."""
    published = tmp_path / "published"
    write_smolvla(published)
    stored = load_file(published / "model.safetensors")
    half = {n: v.bfloat16() if ".vlm." in n else v for n, v in stored.items()}
    save_file(half, published / "model.safetensors", metadata={"format": "pt"})
    policy = tiny_smolvla(tmp_path)
    assert policy.lerobot.model.vlm_with_expert.vlm.model.text_model.embed_tokens.weight.dtype == torch.bfloat16
    assert policy.lerobot.model.action_out_proj.weight.dtype == torch.float32
    sample = policy.sample(smolvla_input(policy, TEXTS), generator=torch.Generator().manual_seed(0))
    assert sample.logp_NK.dtype == torch.float32 and sample.logp_NK.isfinite().all()


def edited(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """The checkpoint with another config.json."""
    for path in (folder / "published").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    return tmp_path


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"env\.action_chunk is 7, but .* predicts 6"):
        SmolVlaPolicy.load(folder / "published", SETTINGS.model_copy(update={"action_chunk": 7}))
    with pytest.raises(CheckpointError, match="published SmolVLA without settings of a run"):
        load_policy(folder / "published")
    with pytest.raises(CheckpointError, match=r"no SmolVLA of LeRobot's: the type in its config\.json is pi0"):
        SmolVlaPolicy.load(edited(folder, tmp_path, type="pi0"), SETTINGS)
    other = {"action": {"type": "ACTION", "shape": [6]}}
    with pytest.raises(CheckpointError, match=r"for another robot: .* \(6,\) and \(8,\)"):
        SmolVlaPolicy.load(edited(folder, tmp_path, output_features=other), SETTINGS)
    with pytest.raises(CheckpointError, match=r"tokenizer of its language model /nowhere/smolvlm"):
        SmolVlaPolicy.load(edited(folder, tmp_path, vlm_model_name="/nowhere/smolvlm"), SETTINGS)
    with pytest.raises(CheckpointError, match=r"weights are missing"):
        SmolVlaPolicy.load(edited(folder, tmp_path, num_vlm_layers=3), SETTINGS)
    edited(folder, tmp_path)
    (tmp_path / "tgrpo.json").write_text('{"noise_level": -1, "action_chunk": "many"}')
    with pytest.raises(CheckpointError, match=r"tgrpo\.json does not hold .*: noise_level=-1 must be greater than 0\."):
        load_policy(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing or damaged"):
        SmolVlaPolicy.load(tmp_path, SETTINGS)
    (tmp_path / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no policy_preprocessor\.json; .*migrate_policy_normalization"):
        SmolVlaPolicy.load(tmp_path, SETTINGS)


def test_cameras_go_by_the_checkpoints_names(folder: Path, tmp_path: Path) -> None:
    features = json.loads((folder / "published/config.json").read_text())["input_features"]
    scene, gripper = "observation.images.front", "observation.images.wrist_image"
    features |= {scene: features.pop(IMAGE), gripper: features.pop(WRIST)}
    edited(folder, tmp_path, input_features=features)
    with pytest.raises(ConfigError, match=r"cameras are observation\.images\.front and .*policy\.smolvla\.agentview"):
        SmolVlaPolicy.load(tmp_path, SETTINGS)
    named = SETTINGS.model_copy(update={"agentview": scene, "wrist": gripper})
    assert_lerobots_actions(SmolVlaPolicy.load(tmp_path, named), tmp_path, {IMAGE: scene, WRIST: gripper})
    # One camera under the usual name and one under another: LeRobot's model would leave the wrist out and say nothing.
    features |= {IMAGE: features.pop(scene)}
    with pytest.raises(ConfigError, match=r"wrist_image.*is given"):
        SmolVlaPolicy.load(edited(folder, tmp_path, input_features=features), SETTINGS)


def test_the_checkpoints_own_renaming_is_followed(folder: Path, tmp_path: Path) -> None:
    features = json.loads((folder / "published/config.json").read_text())["input_features"]
    camera = "observation.images.camera1"
    features = {camera: features[IMAGE], "observation.state": features["observation.state"]}
    edited(folder, tmp_path, input_features=features)
    path = tmp_path / "policy_preprocessor.json"
    steps = json.loads(path.read_text())
    steps["steps"][0]["config"]["rename_map"] = {IMAGE: camera}
    path.write_text(json.dumps(steps))
    assert_lerobots_actions(SmolVlaPolicy.load(tmp_path, SETTINGS), tmp_path)


def assert_lerobots_actions(policy: SmolVlaPolicy, folder: Path, names: dict[str, str] | None = None) -> None:
    obs = smolvla_input(policy, TEXTS)
    theirs, batch, after = lerobots_batch(folder, obs)
    batch = {(names or {}).get(name, name): value for name, value in batch.items()}
    chunk_NCA = after(theirs.predict_action_chunk(batch, noise=whole_chunk(policy.greedy_noise_1X.repeat(3, 1))))
    ours_NCA = policy.sample(obs, greedy=True).actions_NCA
    torch.testing.assert_close(ours_NCA, chunk_NCA[:, :3].clamp(-1, 1), rtol=0, atol=1e-5)
