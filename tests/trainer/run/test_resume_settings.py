"""What a resumed run may change, that one process at a time writes to it, and whose folder a command touches."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.ranks import use_toy
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer import recipes
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main, parse_run
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.checkpoint import load_checkpoint
from tgrpo_trainer.run.resume import only_writer


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the toy task in this process, until the test ends."""
    for name in ("make_envs", "write_report", "_write_videos"):
        monkeypatch.setattr(training, name, getattr(training, name))
    use_toy(make_toy_envs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(Path("runs/run"), 1))


def saved_settings() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("runs").rglob("config.json")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--env.horizon", "12"], "env.horizon is 32 in runs/smoke, and a resumed run cannot change it to 12;"),
        (["--env.tasks", "0", "1"], "env.tasks is (0,)"),
        (["--env.reward", "sparse"], "env.reward is 'stages'"),
        (["--policy.nano.num-bins", "7"], "policy.nano is NanoSettings(num_bins=21"),
        (["--policy.lora.rank", "4"], "policy.lora is LoraConfig(rank=0"),
        (["--sft.num-demos", "3"], "sft.num_demos is 1"),
        (["--run.seed", "9"], "run.seed is 0"),
        (["--run.name", "other"], "run.name is 'smoke'"),
        (["--run.folder", "others"], "run.folder is "),
    ],
)
@pytest.mark.parametrize("command", ["train", "sft", "ppo"])
def test_what_a_run_began_with_stays(
    command: str, change: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke().save(Path("runs/smoke/config.json"))
    before = saved_settings()
    assert main([command, "--resume", "runs/smoke", *change]) == 2
    assert said in capsys.readouterr().err
    assert saved_settings() == before


def test_what_only_costs_time_and_what_comes_from_now_on_may_change() -> None:
    smoke().save(Path("runs/smoke/config.json"))
    free = [
        "--env.num-threads",
        "3",
        "--env.max-open-tasks",
        "2",
        "--rollout.temperature",
        "0.5",
        "--run.iterations",
        "9",
    ]
    changed = parse_run("train", ["--resume", "runs/smoke", *free, "--update.microbatch-size", "2", "--env.task", "0"])
    assert (changed.env.num_threads, changed.run.iterations, changed.run.path) == (3, 9, Path("runs/smoke"))


def test_another_run_s_folder_is_not_taken_over() -> None:
    """The settings of one run and the checkpoint of another would go on together under the other's name."""
    for name in ("smoke", "b"):
        config = smoke()
        config.replace(run={**config.run.model_dump(), "name": name}).save(Path("runs", name, "config.json"))
    with pytest.raises(ConfigError, match=r"run\.name is 'smoke' in runs/smoke"):
        parse_run("train", ["--resume", "runs/smoke", "--run.name", "b"])


def test_a_rank_left_over_in_the_environment_overwrites_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several ranks the first alone looks whether the folder is free; a single process is the first."""
    smoke().save(Path("runs/smoke/config.json"))
    for rank in ("1", "-", ""):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "--recipe", "smoke"]) == 2
        assert capsys.readouterr().err.startswith("error: runs/smoke holds a run already.")


@pytest.mark.parametrize("name", ["", ".", "..", "a/.."])
def test_a_run_has_a_folder_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "smoke", "--run.name", name]) == 2
    assert f"run.name is {name!r}, which names no folder in runs" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_is_resumed_from_inside_its_folder_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    smoke().save(Path("runs/smoke/config.json"))
    root = Path.cwd()
    monkeypatch.chdir("runs/smoke")
    for folder in (".", "", "../smoke"):
        assert parse_run("train", ["--resume", folder]).run.path.resolve() == root / "runs" / "smoke"
        assert parse_run("train", ["--resume", folder]).run.name == "smoke"


def test_one_process_at_a_time_works_on_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    toy_config(Path("runs/run"), 1).save(Path("runs/run/config.json"))
    other = os.open("runs/run", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    for command in ("train", "sft", "ppo"):
        assert main([command, "--resume", "runs/run"]) == 2
        assert "Another process works on the run in runs/run;" in capsys.readouterr().err
    assert [path.name for path in Path("runs/run").iterdir()] == ["config.json"]
    os.close(other)
    with only_writer(Path("runs/run")):
        pass  # nobody has it any more, and leaving it frees it
    assert main(["sft", "--resume", "runs/run"]) == 0


def test_a_run_that_has_learnt_is_no_clone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "toy"]) == 0
    before = saved_settings()
    assert main(["sft", "--resume", "runs/run", "--run.iterations", "5"]) == 2
    assert "holds no clone alone, but a run of 1 iterations" in capsys.readouterr().err
    assert saved_settings() == before


def test_a_run_goes_on_from_anywhere_without_the_policy_it_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is named by its whole path, and not looked for any more once the run has a checkpoint."""
    assert main(["sft", "--recipe", "toy"]) == 0
    start = Path("runs/run/last/iteration_000000/policy")
    monkeypatch.chdir("runs")
    second = ["--run.folder", ".", "--run.name", "second", "--policy.checkpoint", "run/last/iteration_000000/policy"]
    assert main(["sft", "--recipe", "toy", *second]) == 0
    monkeypatch.chdir("..")
    settings = json.loads(Path("runs/second/config.json").read_text())
    assert settings["policy"]["checkpoint"] == str(start.resolve())
    shutil.rmtree("runs/run")
    assert main(["train", "--resume", "runs/second"]) == 0
    assert load_checkpoint(Path("runs/second/last/iteration_000001")).iteration == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("adamw", "--update.optimizer adamw_master, or start a new run from its policy: --policy.checkpoint runs/run/"),
        ("adamw_stochastic", "holds the state of adamw_master"),
    ],
)
def test_another_optimiser_cannot_go_on_with_the_state_of_one(
    wanted: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sft", "--recipe", "toy"]) == 0
    assert main(["train", "--resume", "runs/run", "--update.optimizer", "adamw_master"]) == 0  # no state was there
    before = saved_settings()
    capsys.readouterr()
    more = ["--run.iterations", "2"]
    assert main(["train", "--resume", "runs/run", "--update.optimizer", wanted, *more]) == 2
    assert said in capsys.readouterr().err
    assert saved_settings() == before
    assert main(["train", "--resume", "runs/run", *more]) == 0


def test_an_optimiser_that_does_not_fit_a_clone_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", "--recipe", "toy"]) == 0
    before = saved_settings()
    assert main(["train", "--resume", "runs/run", "--update.optimizer", "adamw_stochastic"]) == 2
    assert "adamw_stochastic rounds to bfloat16, but" in capsys.readouterr().err
    assert saved_settings() == before
    assert main(["train", "--resume", "runs/run"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        ["--evaluation.num-heldout", "12"],
        ["--evaluation.num-official", "0"],
        ["--evaluation.temperature", "0.5"],
    ],
)
def test_an_evaluation_that_is_there_with_other_settings_is_named(
    change: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--recipe", "toy"]) == 0
    assert main(["train", "--resume", "runs/run"]) == 0
    assert "with other settings" not in capsys.readouterr().out
    assert main(["train", "--resume", "runs/run", *change]) == 0
    said = capsys.readouterr().out
    command = "python -m tgrpo_trainer eval runs/run/checkpoints/iteration_000001"
    assert (
        f"The evaluation after 1 iterations is on disk with other settings, and stays. To play more: {command}\n"
        in said
    )


def policy_settings(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(f"runs/{name}/config.json").read_text())["policy"]
    return found


def test_a_saved_policy_s_own_settings_are_the_run_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", "--recipe", "toy", "--run.name", "first"]) == 0
    start = ["--policy.checkpoint", "runs/first/last/iteration_000000/policy"]
    capsys.readouterr()
    assert main(["train", "--recipe", "toy", *start, "--policy.nano.num-bins", "9"]) == 0
    said = "policy.nano is that of runs/first/last/iteration_000000/policy, num_bins=5 bin_power=1.0 steps_per_token=1:"
    assert said in capsys.readouterr().out
    assert policy_settings("run")["nano"] == {"num_bins": 5, "bin_power": 1.0, "steps_per_token": 1}
    assert main(["train", "--resume", "runs/run", "--run.iterations", "2"]) == 0
    # Nothing is said where nothing differs.
    assert main(["sft", "--recipe", "toy", *start, "--run.name", "second"]) == 0
    assert "policy.nano" not in capsys.readouterr().out


def test_a_saved_policy_s_kind_is_the_run_s() -> None:
    """A recipe says nano; what is trained, and what config.json and the report say, is what was saved."""
    gaussian = ["--policy.kind", "nano_gaussian", "--policy.nano-gaussian.initial-std", "0.25"]
    assert main(["sft", "--recipe", "toy", "--run.name", "first", *gaussian]) == 0
    assert main(["train", "--recipe", "toy", "--policy.checkpoint", "runs/first/last/iteration_000000/policy"]) == 0
    settings = policy_settings("run")
    assert settings["kind"] == "nano_gaussian"
    assert settings["nano_gaussian"] == {"initial_std": 0.25, "min_std": 0.05, "steps_per_draw": 1}


def test_a_reward_file_is_named_by_its_whole_path(tmp_path: Path) -> None:
    Path("spec.json").write_text("{}")
    config = smoke()
    chosen = TrainConfig(**config.model_dump() | {"env": {**config.env.model_dump(), "reward": "spec.json"}})
    assert chosen.env.reward == str(tmp_path / "spec.json")
    assert config.replace(env={**config.env.model_dump(), "reward": "compiled"}).env.reward == "compiled"


@pytest.mark.parametrize("left", ["last", "checkpoints", "evaluations", "demonstrations.hdf5", "demonstrations"])
def test_a_new_run_takes_nothing_of_one_whose_settings_are_gone(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would go on from that one's policy, or take its evaluations or demonstrations for its own."""
    Path("runs/smoke", left).mkdir(parents=True)
    assert main(["train", "--recipe", "smoke"]) == 2
    assert f"runs/smoke holds {left} of another run, whose config.json is gone" in capsys.readouterr().err
