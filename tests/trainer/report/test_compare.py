"""Several runs on one page: seeds together, only what differs, known counts and means, and what is odd in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.synthetic_run import COUNTS, KINDS, make_evaluation, write_synthetic_run
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.intervals import counted
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.result import save_evaluations
from tgrpo_trainer.metrics.metrics import MetricsWriter
from tgrpo_trainer.objectives import with_kind
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.report import write_comparison
from tgrpo_trainer.report.overlay import DASHES, PALETTE, group_line
from tgrpo_trainer.report.plots import seconds_of
from tgrpo_trainer.report.runs import RunRecord, differing_settings, group_by_settings, mean_curve, read_runs
from tgrpo_trainer.run.layout import CONFIG_NAME, EARLIER_NAME
from tgrpo_trainer.studies.catalogue import get_study


def save_config(folder: Path, *, seed: int = 0, **groups: object) -> None:
    config = quickstart()
    run = {**config.run.model_dump(), "seed": seed, "name": folder.name, "folder": folder.parent}
    config.replace(run=run, **groups).save(folder / CONFIG_NAME)


def write_counts(folder: Path, iteration: int, counts: Sequence[int]) -> None:
    evaluations = []
    for (states, mode, n), k in zip(KINDS, counts, strict=True):
        evaluations.append(make_evaluation(iteration, states, mode, k, n))
    save_evaluations(folder / "evaluations" / f"iteration_{iteration:06d}.json", evaluations)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, flags=re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one setting, and one run with another step weight and learning rate."""
    root = tmp_path_factory.mktemp("runs")
    names = ("first", "second", "other")
    for name in names:
        write_synthetic_run(root / name)
    config = quickstart()
    save_config(root / "first")
    save_config(root / "second", seed=1)
    write_counts(root / "second", 20, (32, 16, 25, 30))
    changed: dict[str, Any] = {"objective": {**config.objective.model_dump(), "discount": 0.0}}
    changed["update"] = {**config.update.model_dump(), "learning_rate": 0.001}
    save_config(root / "other", **changed)
    return [root / name for name in names]


@pytest.fixture(scope="module")
def page(folders: list[Path]) -> str:
    path = write_comparison(folders)
    assert path == folders[0].parent / "compare.html"
    return path.read_text(encoding="utf-8")


def test_runs_that_differ_in_their_seed_only_are_one_group(folders: list[Path]) -> None:
    groups = group_by_settings(read_runs(folders))
    assert [[run.name for run in group.runs] for group in groups] == [["first", "second"], ["other"]]
    assert [group.label for group in groups] == ["first (seeds 0, 1)", "other"]
    assert differing_settings(groups) == {"objective.discount": [0.9, 0.0], "update.learning_rate": [0.0003, 0.001]}


def test_runs_of_two_objectives_differ_in_the_settings_that_only_one_has() -> None:
    config = quickstart()
    configs = (config, config.replace(objective=with_kind(config.objective, "tgrpo")))
    groups = group_by_settings([RunRecord(name, one, (), ()) for name, one in zip("ab", configs, strict=True)])
    assert differing_settings(groups) == {
        "objective.kind": ["stage_return", "tgrpo"],
        "objective.anchor": ["clock", None],
        "objective.discount": [0.9, None],
        "objective.trajectory_weight": [0.3, None],
        "objective.alpha_step": [None, 0.3],
        "objective.alpha_trajectory": [None, 0.7],
    }


def test_the_page_names_only_the_settings_that_differ(page: str) -> None:
    section = found(r"(Settings that differ.*?</section>)", page)
    assert "<td>objective.discount</td><td>0.9</td><td>0.0</td>" in section
    assert section.count("<tr>") == 3
    assert "rollout.temperature" not in page and "run.seed" not in page


def test_final_counts_stand_side_by_side_with_the_mean_of_seeds(page: str) -> None:
    section = found(r"(Final success.*?</section>)", page)
    for counts in (COUNTS[20], (32, 16, 25, 30)):
        for k, n in zip(counts, (64, 64, 50, 50), strict=True):
            assert counted(k, n) in section
    # Held-out greedy: 56/64 and 32/64 are 69 % on average; held-out sampled: 52/64 and 16/64 are 53 %.
    means = found(r"mean of 2 seeds</b></td><td></td>(.*?)</tr>", section)
    assert re.findall(r"<b>(\d+%)</b>", means) == ["69%", "53%", "69%", "75%"]


def test_the_page_stands_alone_and_overlays_all_runs(page: str) -> None:
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert references and all(reference.startswith("#") for reference in references)
    for title in ("Return of training rollouts", "KL to the SFT policy", "Entropy per token", "Seconds per iteration"):
        assert title in page
    assert page.count("first (seeds 0, 1), mean") == 2  # legend of both figures
    split = found(r"(Where the time of an iteration went.*?</section>)", page)
    assert all(name in split for name in ("first", "second", "other", "env", "policy", "update", "idle"))


def test_a_mean_curve_has_the_iterations_that_all_have() -> None:
    assert mean_curve([{0: 1.0, 2: 3.0, 3: 9.0}, {0: 3.0, 1: 7.0, 2: 4.0}]) == {0: 2.0, 2: 3.5}
    assert mean_curve([{0: 1.0}, {}]) == {} and mean_curve([]) == {}


def test_seconds_that_nothing_accounts_for_are_the_rest() -> None:
    row = {"iteration": 1, "time/env_s": 4.0, "time/policy_s": 1.0, "time/update_s": 2.0, "time/idle_s": 0.5}
    iterations, seconds = seconds_of([{"iteration": 0}, {**row, "time/iteration_s": 8.0}, {**row, "iteration": 2}])
    assert iterations.tolist() == [1, 2]
    assert {name: values.tolist() for name, values in seconds.items()} == {
        "env": [4, 4],
        "policy": [1, 1],
        "update": [2, 2],
        "idle": [0.5, 0.5],
        "other": [0.5, 0],  # of the second the whole is not known
    }


def test_seeds_alone_have_no_setting_that_differs(folders: list[Path], tmp_path: Path) -> None:
    text = write_comparison(folders[:2], tmp_path / "new" / "page.html").read_text()
    assert "None: the runs differ in their seed only." in text and "2 runs, 1 setting" in text


def test_a_run_that_changed_its_settings_is_no_seed_of_another(folders: list[Path], tmp_path: Path) -> None:
    """Even where both end with the same, and where two changed alike."""
    config = quickstart()
    for name, seed in (("changed", 1), ("alike", 2)):
        (tmp_path / name).mkdir()
        save_config(tmp_path / name, seed=seed)
        earlier = config.replace(
            objective=with_kind(config.objective, "tgrpo"),
            update={**config.update.model_dump(), "learning_rate": 1e-6},
        )
        earlier.save(tmp_path / name / EARLIER_NAME / "iteration_000002.json")
    groups = group_by_settings(read_runs([folders[0], tmp_path / "changed", tmp_path / "alike"]))
    assert [group.label for group in groups] == ["first", "changed", "alike"]
    was, alpha = "1e-06, from iteration 3: 0.0003", "0.3, from iteration 3: none"
    assert differing_settings(groups) == {
        "objective.kind": ["stage_return", *["tgrpo, from iteration 3: stage_return"] * 2],
        "objective.anchor": ["clock", *["none, from iteration 3: clock"] * 2],
        "objective.discount": [0.9, *["none, from iteration 3: 0.9"] * 2],
        "objective.trajectory_weight": [0.3, *["none, from iteration 3: 0.3"] * 2],
        "update.learning_rate": [0.0003, was, was],
        "objective.alpha_step": [None, alpha, alpha],
        "objective.alpha_trajectory": [None, "0.7, from iteration 3: none", "0.7, from iteration 3: none"],
    }
    text = write_comparison([tmp_path / "changed", tmp_path / "alike"]).read_text()
    assert "Settings changed on the way in changed, alike" in text and "2 runs, 2 settings" in text
    assert f"<td>update.learning_rate</td><td>{was}</td><td>{was}</td>" in text
    assert "None: the runs" not in text


def test_runs_of_one_seed_are_not_several_seeds(folders: list[Path], tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "again")  # seed 0, like the first
    two = [folders[0], tmp_path / "again"]
    assert [group.label for group in group_by_settings(read_runs(two))] == ["first (2 runs, seeds 0, 0)"]
    text = write_comparison(two, tmp_path / "page.html").read_text()
    assert "None: the runs have the same settings, and some of them the same seed." in text
    assert "mean of 2 runs</b>" in text and "2 seeds" not in text


def test_a_mean_counts_the_runs_that_were_evaluated(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    save_config(tmp_path / "begun", seed=2)
    text = write_comparison([*folders[:2], tmp_path / "begun"], tmp_path / "page.html").read_text()
    assert "mean of 2 seeds</b>" in text and "3 runs, 1 setting" in text
    assert "<b>mean of" not in write_comparison([folders[0], tmp_path / "begun"], tmp_path / "page.html").read_text()


def test_every_setting_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = [str(group_line(index)) for index in range(len(PALETTE) * len(DASHES))]
    assert len(set(lines)) == len(lines) > len(get_study("methods").methods) > len(PALETTE)
    for index in range(len(PALETTE) + 1):
        (tmp_path / f"run{index}").mkdir()
        save_config(tmp_path / f"run{index}", update={"learning_rate": 1e-5 * (index + 1)})
        write_counts(tmp_path / f"run{index}", 0, (1, 1, 1, 1))
    text = write_comparison(sorted(tmp_path.glob("run*"))).read_text()
    # The first colour, once in each table and in the plots: solid, then in dashes of 4 and gaps of 1.5 line widths.
    assert text.count(f'stroke="{PALETTE[0]}" stroke-dasharray="none"') == 2
    assert text.count(f'stroke="{PALETTE[0]}" stroke-dasharray="10 3.75"') == 2
    assert f"stroke-dasharray: 8,3; stroke-dashoffset: 0; stroke: {PALETTE[0]}" in text


def test_what_keeps_runs_from_being_compared_is_said(folders: list[Path], tmp_path: Path) -> None:
    begun = tmp_path / "first"  # the same name as another run's
    begun.mkdir()
    save_config(begun, env=EnvConfig(suite="libero_goal", tasks=(3,)))
    text = write_comparison([folders[0], begun]).read_text()
    assert "different tasks (libero_goal task 3, libero_object task 4)" in text
    name = f"{begun.parent.name}/first"
    assert f"Nothing was evaluated yet in {name}." in text and f"No iteration has finished yet in {name}." in text
    assert "not done the same number of iterations" not in text

    MetricsWriter(begun, next_iteration=1).close()  # an empty metrics.jsonl
    write_counts(begun, 0, (1, 1, 1, 1))
    assert "not done the same number of iterations" in write_comparison([folders[0], begun]).read_text()


def test_a_page_of_runs_that_have_only_begun(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_config(tmp_path / name, seed=len(name))
    assert "Nothing was evaluated yet in a, b." in write_comparison([tmp_path / "a", tmp_path / "b"]).read_text()


def test_the_primitive_pack_is_labelled(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    save_config(tmp_path / "run")
    evaluation = make_evaluation(0, "heldout", "greedy", 3, 4).model_copy(update={"asset_pack": "primitive"})
    save_evaluations(tmp_path / "run" / "evaluations" / "iteration_000000.json", [evaluation])
    text = write_comparison([tmp_path / "run", folders[0]]).read_text()
    assert "primitive asset pack are not comparable with the benchmark" in text
    assert "different asset packs (primitive, unknown)" in text


def test_the_command_compares_several_and_refuses_what_is_no_run(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.html"
    assert main(["report", *map(str, folders), "--out", str(out)]) == 0
    assert f"Report: {out}" in capsys.readouterr().out and out.is_file()
    mistakes = {
        (str(folders[0]), str(tmp_path)): "not the folder of a run",
        (str(folders[0]), str(folders[0])): "given twice",
        (): "No run was given",
        (str(folders[0]), "--out", "x.html"): "--out is for a comparison",
    }
    for arguments, said in mistakes.items():
        assert main(["report", *arguments]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(ConfigError, match="given twice"):
        read_runs([folders[0], folders[0].parent / "." / "first"])
