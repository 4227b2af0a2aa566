"""The `eval` command on the toy task: what it plays, prints, records and refuses, and that ranks share it out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import imageio_ffmpeg
import pytest
import tyro

import tgrpo_trainer.evaluation.command
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny_openvla import tiny_openvla, write_checkpoint
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.intervals import wilson_interval
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.evaluation.command import chosen_env, run_evaluation
from tgrpo_trainer.evaluation.evaluate import EpisodeSplit
from tgrpo_trainer.evaluation.options import EvalOptions
from tgrpo_trainer.evaluation.record import EvaluationFile, comparability
from tgrpo_trainer.evaluation.result import Evaluation, load_evaluations, pool
from tgrpo_trainer.evaluation.source import find_source, policy_digest
from tgrpo_trainer.evaluation.table import table
from tgrpo_trainer.evaluation.tasks import chosen_tasks
from tgrpo_trainer.policy.hub import FoundCheckpoint
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.recipes import get_recipe
from tgrpo_trainer.run.checkpoint import save_checkpoint
from tgrpo_trainer.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
        patch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder)
        patch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
        train(toy_config(folder, iterations=1))
    return folder


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tgrpo_trainer.evaluation.command.make_envs", make_toy_envs)
    monkeypatch.chdir(tmp_path)


def options(*arguments: object) -> EvalOptions:
    return tyro.cli(EvalOptions, args=[str(one) for one in arguments])


def test_a_checkpoint_repeats_the_run_s_own_evaluation(run: Path) -> None:
    checkpoint = run / "checkpoints" / "iteration_000001"
    recorded = load_evaluations(run / "evaluations" / "iteration_000001.json")
    again = run_evaluation(options(checkpoint, "--num-states", 5, "--num-envs", 4)).evaluations
    assert again[2:] == recorded[2:]  # the official 5
    assert [one.episodes for one in again[:2]] == [one.episodes[:5] for one in recorded[:2]]  # 5 of 6 held-out


def test_sets_and_modes_default_to_all_and_tasks_to_the_run_s(run: Path) -> None:
    file = run_evaluation(options(run))
    assert [(one.states, one.mode, one.num_episodes) for one in file.evaluations] == [
        ("heldout", "greedy", 6),
        ("heldout", "sampled", 6),
        ("official", "greedy", 50),
        ("official", "sampled", 50),
    ]
    assert {one.env.task for one in file.evaluations} == {0}


def test_several_tasks_are_pooled_recorded_printed_and_read_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", run, "--tasks", "0", "3", "5", "--states", "official", "--mode", "greedy", "--num-states", "7"]
    arguments += ["--videos", "2", "--out", tmp_path / "out", "--horizon", "10", "--seed", "3"]
    assert main([str(one) for one in arguments]) == 0
    printed = capsys.readouterr()
    file = EvaluationFile.load(tmp_path / "out" / "evaluation.json")

    assert [(one.env.suite, one.env.task, one.num_episodes) for one in file.evaluations] == [
        ("libero_object", task, 7) for task in (0, 3, 5)
    ]
    successes = sum(one.num_successes for one in file.evaluations)
    (pooled,) = file.pooled
    assert (pooled.num_tasks, pooled.num_successes, pooled.num_episodes) == (3, successes, 21)
    assert pooled.interval == wilson_interval(successes, 21)
    assert {one.seed for one in file.evaluations} == {3}
    assert file.versions.keys() >= {"tgrpo", "mujoco", "torch"}
    last = run / "last" / "iteration_000001"
    assert (file.policy.path, file.policy.kind, file.policy.iteration) == (str(last.resolve()), "nano", 1)

    assert "Pooled over 3 tasks" in printed.out and str(pooled) in printed.out
    assert "Asset pack toy: these results are NOT comparable" in printed.out
    assert "cut after 10 control steps; libero_object is evaluated with 280" in printed.out
    assert "21/21" in printed.err  # one bar over all episodes

    assert len(file.videos) == 6
    for video in file.videos:
        path = tmp_path / "out" / video.path
        assert f"Failure: {path}\n  {video.shows}" in printed.out
        assert video.shows.startswith("step limit after 0.5 s; stages done: none; never: near, reached")
        assert sum(1 for _ in imageio_ffmpeg.read_frames(str(path))) - 1 == 10 + 1


def evaluate_share(world: World, arguments: list[object]) -> dict[str, object]:
    tgrpo_trainer.evaluation.command.make_envs = make_toy_envs  # type: ignore[attr-defined, assignment]
    found = run_evaluation(options(*arguments), EpisodeSplit(world.rank, world.size, world.gather))
    return {"evaluations": repr(found.evaluations), "videos": len(found.videos)}


def test_ranks_share_the_episodes_and_all_have_the_result_of_one_process(run: Path, tmp_path: Path) -> None:
    arguments = [run, "--tasks", "0", "1", "--num-states", "5", "--videos", "3", "--horizon", "8"]
    alone = run_evaluation(options(*arguments, "--out", tmp_path / "alone"))
    first, second = on_ranks(evaluate_share, [*arguments, "--out", tmp_path / "two"], folder=tmp_path / "ranks")
    assert first == {"evaluations": repr(alone.evaluations), "videos": len(alone.videos)}
    assert second == {"evaluations": repr(alone.evaluations), "videos": 0}  # the first rank writes
    assert json.loads((tmp_path / "two" / "evaluation.json").read_text()) == json.loads(
        (tmp_path / "alone" / "evaluation.json").read_text()
    )


def test_a_published_openvla_is_evaluated_under_a_recipe_s_settings(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "published") or tmp_path / "published"
    source = find_source(folder)
    assert (source.kind, source.config) == ("openvla", get_recipe("openvla_libero"))
    arguments = [folder, "--image-size", 16, "--num-states", 2, "--states", "official", "--mode", "greedy"]
    file = run_evaluation(options(*arguments, "--action-chunk", 1, "--horizon", 4, "--device", "cpu"))
    assert (file.policy.kind, file.policy.image_size, file.policy.iteration) == ("openvla", 16, 0)
    assert file.evaluations[0].num_episodes == 2
    with pytest.raises(CheckpointError, match="libero_goal"):  # its statistics do not cover that suite
        run_evaluation(options(*arguments, "--suite", "libero_goal", "--tasks", "all"))


def test_a_policy_folder_alone_brings_its_own_picture_size_and_chunk(run: Path) -> None:
    folder = run / "last" / "iteration_000001" / "policy"
    file = run_evaluation(options(folder, "--states", "official", "--mode", "greedy", "--num-states", 3))
    assert (file.evaluations[0].env.image_size, file.evaluations[0].env.action_chunk) == (16, 2)


FEW = ["--states", "official", "--mode", "greedy", "--num-states", 1, "--horizon", 2, "--device", "cpu"]


def exported(folder: Path, **env: object) -> Path:
    """A nano that a run of other settings trained, exported."""
    config = toy_config(folder / "run", 1)
    config.replace(env={**config.env.model_dump(), **env}).save(folder / "run" / "config.json")
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2))
    checkpoint = save_checkpoint(folder / "run" / "last", iteration=1, policy=policy, state={})
    assert main(["export", str(checkpoint), str(folder / "out")]) == 0
    return folder / "out"


def test_an_exported_policy_is_played_on_the_tasks_it_was_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(tmp_path, suite="libero_goal", tasks=(7, "put_the_bowl_on_the_plate"))
    names = json.loads((out / "trained_on.json").read_text())
    tasks = [7, "put_the_bowl_on_the_plate"]
    assert names == {"suite": "libero_goal", "tasks": tasks, "assets": "auto", "horizon": 24, "detail": "fast"}
    assert find_source(out).config.env.horizon == 24
    capsys.readouterr()
    file = run_evaluation(options(out, *FEW))
    assert [(one.env.suite, one.env.task) for one in file.evaluations] == [("libero_goal", 7), ("libero_goal", 8)]
    said = capsys.readouterr()
    label = "libero_goal, task 7, put_the_bowl_on_the_plate"
    assert f"out was trained on {label}, and is played there; --suite and --tasks choose others." in said.out + said.err

    (one,) = run_evaluation(options(out, *FEW, "--suite", "libero_object", "--tasks", 3)).evaluations
    assert (one.env.suite, one.env.task) == ("libero_object", 3)
    said = capsys.readouterr()
    assert "was trained on" not in said.out + said.err
    inside = find_source(tmp_path / "run" / "last" / "iteration_000001" / "policy")
    assert (inside.config.env.suite, inside.config.env.tasks, inside.knows_tasks) == (
        "libero_goal",
        (7, "put_the_bowl_on_the_plate"),
        True,
    )


def test_a_policy_that_does_not_say_its_tasks_is_played_on_the_recipes_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(tmp_path)
    (out / "trained_on.json").unlink()  # as an earlier version exports
    (one,) = run_evaluation(options(out, *FEW)).evaluations
    assert (one.env.suite, one.env.task) == ("libero_object", 4)
    said = capsys.readouterr()
    told = "does not say what it was trained on, so it is played on its recipe's libero_object, task 4; --suite"
    assert told in said.out + said.err
    rest = {"assets": "primitive", "horizon": None}
    for wrong in ({"suite": "libero_goal"}, {"suite": "libero_goal", "tasks": [99]}, {"suite": "x", "tasks": [0]}):
        (out / "trained_on.json").write_text(json.dumps({**rest, **wrong}))
        with pytest.raises(CheckpointError, match=r"trained_on\.json does not say which tasks"):
            find_source(out)


def test_a_policy_of_a_task_file_names_no_tasks(tmp_path: Path) -> None:
    bddl = tmp_path / "mine.bddl"
    bddl.write_text("(define (problem mine))")
    assert not (exported(tmp_path, bddl=bddl) / "trained_on.json").exists()


def test_statistics_of_the_played_suite_that_are_not_taken_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny OpenVLA has statistics of two suites, and its run was on the first."""
    policy = tiny_openvla(tmp_path / "published", image_size=16)
    (tmp_path / "saved").mkdir()
    policy.save(tmp_path / "saved")
    for suite, taken in (("libero_spatial", False), ("libero_object", True), ("libero_goal", True)):
        run_evaluation(options(tmp_path / "saved", *FEW, "--suite", suite, "--tasks", 0))
        said = capsys.readouterr()
        warning = "Warning: actions are un-normalised by the statistics of libero_object_no_noops, as the policy was"
        assert (warning in said.out + said.err) is not taken
        assert ("set unnorm_key to libero_spatial in the tgrpo.json of a copy" in said.out + said.err) is not taken


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    lines = "".join(f"{n} {hashlib.sha256(c).hexdigest()}\n" for n, c in (("a", b"one"), ("b", b"two")))
    assert policy_digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_another_suite_has_its_own_length_and_a_file_of_stages_stays_with_its_task(run: Path) -> None:
    arguments = [run, "--suite", "libero_goal", "--tasks", "2", "--states", "official", "--mode", "greedy"]
    (one,) = run_evaluation(options(*arguments, "--num-states", 1, "--horizon", 6)).evaluations
    assert (one.env.suite, one.env.task, one.env.horizon) == ("libero_goal", 2, 6)
    env = toy_config(run, 1).env.model_copy(update={"reward": "mine.json"})
    assert [(one.task, one.reward) for one in chosen_tasks(env, ["0", "1"], env)] == [(0, "mine.json"), (1, "stages")]


PUBLISHED = EnvConfig(image_size=256)


def evaluated(env: EnvConfig = PUBLISHED, asset_pack: str = "libero", horizon: int = 280) -> Evaluation:
    return Evaluation(
        iteration=0,
        states="official",
        mode="greedy",
        temperature=1.0,
        seed=0,
        env=env,
        instruction="reach",
        horizon=horizon,
        asset_pack=asset_pack,
        stage_names=(),
        num_successes=0,
        num_episodes=1,
        interval=(0.0, 1.0),
        episodes=(),
    )


def test_only_what_is_as_published_is_said_to_be_comparable(tmp_path: Path) -> None:
    usual = evaluated()
    assert comparability([usual, usual]).startswith("Asset pack libero: official states can be compared with published")
    own = PUBLISHED.model_copy(update={"suite": "custom", "bddl": tmp_path / "gone_by_now.bddl"})
    camera = PUBLISHED.model_copy(update={"perturb": "camera", "perturb_level": 3, "perturb_seed": 7})
    for unlike, said in (
        (evaluated(asset_pack="primitive"), "Asset pack primitive: these results are NOT comparable"),
        (evaluated(camera), "(camera, level 3, seed 7): these results are NOT comparable"),
        (evaluated(EnvConfig(image_size=256, fixture_poses="per_episode")), "per_episode): these results are NOT comp"),
        (evaluated(own, horizon=520), "A task of your own: nothing published is comparable."),
        (evaluated(EnvConfig(image_size=16)), "Pictures had 16 pixels a side; OpenVLA's script draws 256."),
        (evaluated(horizon=9), "cut after 9 control steps; libero_object is evaluated with 280."),
    ):
        note = comparability([usual, unlike])
        assert said in note and "can be compared" not in note


def test_a_perturbation_is_named_beside_the_task_and_none_plays_the_plain_one(run: Path) -> None:
    few = ("--states", "official", "--mode", "greedy", "--num-states", 1, "--horizon", 2)
    file = run_evaluation(options(run, *few, "--perturb", "camera", "--perturb-level", 3))
    assert "\nlibero_object 0 (camera, level 3, seed 0)  official" in table(file)
    assert "(camera, level 3, seed 0): these results are NOT comparable" in file.note
    config = toy_config(run, 1)
    perturbed = config.replace(env={**config.env.model_dump(), "perturb": "camera", "perturb_level": 3})
    assert chosen_env(options(run), perturbed).perturb == "camera"
    assert chosen_env(options(run, "--perturb", "light"), perturbed).perturb == "light"
    assert chosen_env(options(run, "--perturb", "none"), perturbed) == config.env


def test_pictures_are_drawn_as_the_run_s_unless_it_is_said(run: Path, tmp_path: Path) -> None:
    config = toy_config(run, 1)
    exact = config.replace(env={**config.env.model_dump(), "detail": "exact"})
    assert (chosen_env(options(run), exact).detail, chosen_env(options(run), config).detail) == ("exact", "fast")
    assert chosen_env(options(run, "--detail", "fast"), exact) == config.env
    out = exported(tmp_path, detail="exact")
    inside = tmp_path / "run" / "last" / "iteration_000001" / "policy"
    assert [find_source(folder).config.env.detail for folder in (out, inside)] == ["exact", "exact"]
    names = json.loads((out / "trained_on.json").read_text())
    del names["detail"]
    (out / "trained_on.json").write_text(json.dumps(names))  # as versions up to 0.12.0 wrote it
    source = find_source(out)
    assert (source.config.env.detail, source.knows_tasks) == ("fast", True)


def test_pooling_weighs_every_episode_the_same(run: Path) -> None:
    few = run_evaluation(options(run, "--states", "heldout", "--mode", "greedy", "--num-states", 3)).evaluations[0]
    many = few.model_copy(update={"num_successes": 30, "num_episodes": 40})
    (pooled,) = pool([few, many])
    assert (pooled.num_successes, pooled.num_episodes) == (few.num_successes + 30, 43)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "99"], "Unknown libero_object task '99'"),
        (["--suite", "libero_goal"], "--tasks all"),
        (["--num-states", "0"], "--num-states is 0; give 1 or more"),
        (["--num-states", "51", "--states", "official"], "rows 0 to 49"),
        (["--temperature", "0"], "give a number of at least 1e-06"),
        (["--videos", "1"], "--out FOLDER"),
        (["--recipe", "smoke"], "settings of its own run"),
        (["--image-size", "64"], "brings its own settings"),
        (["--out", "taken"], "holds an evaluation already"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    run: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "evaluation.json").touch()
    assert main(["eval", str(run), *arguments]) == 2
    errors = capsys.readouterr().err
    assert said in errors and "Traceback" not in errors


def test_a_name_whose_first_part_is_no_folder_here_is_one_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published = write_checkpoint(tmp_path / "snapshot")
    found = FoundCheckpoint(published, "somebody/tiny-openvla@commit")
    names = ["somebody/tiny-openvla", "somebody/tiny-openvla/suite/step-5@v1"]
    monkeypatch.setattr("tgrpo_trainer.evaluation.source.resolve_checkpoint", dict.fromkeys(names, found).get)
    for name in names:
        source = find_source(name)
        assert (source.folder, source.kind) == (published, "openvla")
    (tmp_path / "somebody").mkdir()
    for name in names:
        with pytest.raises(ConfigError, match="neither a run's folder nor"):
            find_source(name)


def test_paths_that_hold_no_policy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run's folder nor"):
        find_source(tmp_path)
    get_recipe("smoke").save(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="has no checkpoint yet"):
        find_source(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        find_source(tmp_path)
    with pytest.raises(CheckpointError, match="does not hold evaluations"):
        EvaluationFile.load(tmp_path / "config.json")
