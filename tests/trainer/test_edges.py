"""Unusual but legal values and damaged files of a run: a right answer, or one sentence of ours."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest
import torch

from tests.helpers.synthetic_run import write_synthetic_run
from tgrpo_envs.command import run_command
from tgrpo_envs.errors import CheckpointError, ConfigError, MissingExtraError, OutputError, TgrpoError, UnknownNameError
from tgrpo_trainer.distributed.world import init_world, resolve_device
from tgrpo_trainer.metrics.metrics import JSONL_NAME, read_metrics
from tgrpo_trainer.objectives.stage_return import stage_return_advantages
from tgrpo_trainer.objectives.tgrpo import tgrpo_advantages
from tgrpo_trainer.policy.nano.gaussian import NanoGaussianConfig, NanoGaussianPolicy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.policy.randomness import check_temperature
from tgrpo_trainer.policy.text import hash_words
from tgrpo_trainer.policy.tokens import ActionBins
from tgrpo_trainer.report import write_report
from tgrpo_trainer.run.checkpoint import list_checkpoints, load_checkpoint, read_state, save_checkpoint
from tgrpo_trainer.run.schedule import Schedule
from tgrpo_trainer.types import PolicyInput

LAUNCHED = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a whole number"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE is '-1'"),
        ({**LAUNCHED, "RANK": ""}, "RANK is None, not a whole number"),
        ({**LAUNCHED, "RANK": "2"}, "WORLD_SIZE is 2, but RANK is 2"),
        ({**LAUNCHED, "MASTER_ADDR": ""}, "WORLD_SIZE is 2, but RANK is 0 and MASTER_ADDR "),
        ({**LAUNCHED, "MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        ({**LAUNCHED, "LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"),
    ],
)
def test_what_a_launcher_leaves_incomplete_is_named(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        init_world("cpu", timeout_minutes=1.0)


def test_a_launcher_of_one_process_and_an_empty_variable_are_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("1", "", "0"):
        monkeypatch.setenv("WORLD_SIZE", size)
        assert init_world("cpu", timeout_minutes=1.0).size == 1


@pytest.mark.parametrize("name", ["meta", "xla", "vulkan"])
def test_a_device_on_which_nothing_can_be_computed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"run.device is '{name}', where torch cannot compute"):
        resolve_device(name)


def test_the_time_left_of_very_many_iterations_is_known_at_once() -> None:
    for iterations, every, done in (
        (12, 5, 0),
        (12, 5, 4),
        (12, 5, 5),
        (12, 5, 11),
        (10, 5, 9),
        (10, 5, 10),
        (3, 7, 0),
    ):
        plan = Schedule(iterations, every, None, evaluation_s=1.0)
        on_the_way = sum(plan.is_evaluation_due(i) for i in range(done + 1, iterations))
        assert plan.seconds_left(done, 0.0) == 1.0 + on_the_way
    assert Schedule(10**15, 10, None, evaluation_s=1.0).seconds_left(10, 0.0) == 1.0 + (10**15 - 1) // 10 - 1


@pytest.mark.parametrize("initial_std", [0.06, 1.0, 30.0, 1000.0])
def test_a_gaussian_begins_with_the_deviation_asked_for(initial_std: float) -> None:
    policy = NanoGaussianPolicy(NanoGaussianConfig(image_size=16, action_chunk=1, initial_std=initial_std))
    std_K = policy.config.min_std + torch.nn.functional.softplus(policy.raw_std_K)
    torch.testing.assert_close(std_K, torch.full((7,), initial_std))


def test_bins_that_coincide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"21 action bins with a power of 1000\.0 coincide"):
        ActionBins.spaced(21, 1000.0)
    assert ActionBins.spaced(3, 1000.0).centres_V.tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-40, math.inf, math.nan])
def test_a_temperature_that_leaves_float32_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="use a value of at least 1e-06"):
        check_temperature(temperature)


def test_at_the_least_temperature_the_most_probable_token_is_drawn() -> None:
    torch.manual_seed(0)
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=1))
    seen = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    obs = PolicyInput(seen, seen, torch.zeros(2, 12), policy.encode_instructions(["do it"] * 2))
    drawn, best = policy.sample(obs, temperature=1e-6), policy.sample(obs, greedy=True)
    assert torch.equal(drawn.choices_NK, best.choices_NK)
    assert drawn.logp_NK.isfinite().all()


def test_words_of_other_scripts_count_and_latin_ones_stay_as_they_were() -> None:
    ids_NL = hash_words(["放 碗", "Öffne die Tür", "put_the bowl, 2nd"], 1024)
    assert (ids_NL > 0).sum(1).tolist() == [2, 3, 4]
    assert ids_NL[2].tolist() == hash_words(["put the bowl 2nd"], 1024)[0].tolist()


def test_objectives_refuse_in_our_words() -> None:
    """They were plain ValueErrors, which `except TgrpoError` does not catch."""
    pair, mask = [[1.0, 2.0], [0.0, 1.0]], [[True, True], [True, True]]
    for rewards, masked in ((pair[:1], mask[:1]), (pair, mask[:1]), ([[math.nan, 1.0], [0.0, 1.0]], mask)):
        with pytest.raises(TgrpoError):
            tgrpo_advantages(rewards, masked)
    with pytest.raises(TgrpoError, match="stages"):
        stage_return_advantages(torch.tensor(pair), torch.tensor(mask), torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("task", "x", ["y"]),
        OutputError(Path("a"), "full", "--out"),
        MissingExtraError("m"),
        ConfigError("c"),
    ],
)
def test_errors_survive_copies_and_pickles(error: TgrpoError) -> None:
    """An error that cannot be unpickled hangs a pool of processes."""
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(again), str(again), again.args, vars(again)) == (type(error), str(error), error.args, vars(error))


def test_a_path_that_the_system_refuses_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def read() -> str:
        return Path("x" * 300).read_text()

    assert run_command(read) == 2
    assert capsys.readouterr().err == f"error: {'x' * 300} cannot be used (File name too long); check that path.\n"

    def fail() -> str:
        raise OSError("a bug of ours")

    with pytest.raises(OSError, match="a bug of ours"):
        run_command(fail)


@pytest.mark.parametrize(
    "line",
    [b"5", b"[]", b'{"a": 1}', b'{"iteration": "x"}', b'{"iteration": 1, "a": "x"}', b'{"iteration": 1, "a": "\xff"}'],
)
def test_a_line_of_metrics_that_is_none_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / JSONL_NAME).write_bytes(b'{"iteration": 1, "a": null}\n\n' + line + b"\n")
    with pytest.raises(CheckpointError, match=rf"{JSONL_NAME}, line 3, is not a row of metrics"):
        read_metrics(tmp_path)


def test_a_report_shows_rollouts_without_groups(tmp_path: Path) -> None:
    """Those of PPO: no spread within groups is logged."""
    folder = tmp_path / "run"
    write_synthetic_run(folder)
    rows = [{key: value for key, value in row.items() if key != "rollout/return_std"} for row in read_metrics(folder)]
    (folder / JSONL_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "Return of training rollouts" in write_report(folder).read_text()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=1))
    root = tmp_path_factory.mktemp("checkpoints")
    return save_checkpoint(root, iteration=1, policy=policy, state={"elapsed_s": 1.0})


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x02]q\x00."])
def test_a_damaged_state_says_what_to_do(content: bytes, checkpoint: Path) -> None:
    whole = (checkpoint / "state.pt").read_bytes()
    try:
        for damaged in (content, whole[: len(content) * 40]):
            (checkpoint / "state.pt").write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"state\.pt is missing or damaged .*; take .* away to go on"):
                read_state(checkpoint)
    finally:
        (checkpoint / "state.pt").write_bytes(whole)
    assert read_state(checkpoint) == {"elapsed_s": 1.0}


@pytest.mark.parametrize(
    "change",
    [{"files": 5}, {"files": {"state.pt": 5}}, {"files": {"state.pt": {}}}, {"iteration": "1"}, {"score": "high"}],
)
def test_a_manifest_of_something_else_is_refused(change: dict[str, object], checkpoint: Path) -> None:
    path = checkpoint / "manifest.json"
    whole = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(CheckpointError, match="is not the manifest of a checkpoint"):
            load_checkpoint(checkpoint)
    finally:
        path.write_text(whole)
    assert list_checkpoints(checkpoint.parent) == (checkpoint,)
    assert load_checkpoint(checkpoint).iteration == 1
