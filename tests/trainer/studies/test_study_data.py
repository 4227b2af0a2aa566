"""What docs/data keeps of the studies' runs is what docs/results.md shows."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tgrpo_trainer.studies.results import success_cells
from tgrpo_trainer.studies.table import success_table

ROOT = Path(__file__).parents[3]
NAMES = {
    "the clone": "clone",
    "sparse GRPO": "grpo_sparse",
    "GRPO with stages": "grpo_stages",
    "TGRPO": "tgrpo",
    "TGRPO's step term alone": "step_only",
    "TGRPO within stages": "tgrpo_by_stage",
    "`stage_return`": "stage_return",
    "`stage_return` within stages": "stage_return_by_stage",
    "PPO with a critic": "ppo",
    "TGRPO, language model's stages": "tgrpo_llm",
    "TGRPO, sparse reward": "tgrpo_sparse",
    "TGRPO, goals only": "tgrpo_goals",
    "TGRPO, `alpha_step` 0.25": "tgrpo_alpha_0.25",
    "TGRPO, `alpha_step` 0.5": "tgrpo_alpha_0.50",
    "TGRPO, `alpha_step` 0.75": "tgrpo_alpha_0.75",
    "TGRPO, 2 members": "tgrpo_members_2",
    "TGRPO, 4 members": "tgrpo_members_4",
    "TGRPO, 16 members": "tgrpo_members_16",
    "TGRPO, end `any_success`": "tgrpo_any_success",
    "TGRPO, `beta` 0": "tgrpo_kl_0_t_0.5",
    "TGRPO, `beta` 0.1": "tgrpo_kl_0.1_t_0.5",
    "TGRPO, `beta` 0, `temperature` 1": "tgrpo_kl_0_t_1",
    "TGRPO, `temperature` 1": "tgrpo_kl_0.02_t_1",
    "TGRPO, `beta` 0.1, `temperature` 1": "tgrpo_kl_0.1_t_1",
}
TASKS = {
    "LIBERO-Object 4": "object_4",
    "LIBERO-Spatial 1": "spatial_1",
    "LIBERO-Goal 0": "goal_0",
    "LIBERO-10 3": "libero_10_3",
}


def shown() -> dict[tuple[str, str, str], str]:
    """Success of each seed in percent, by task, method and kind, from the page's tables of nine columns."""
    found: dict[tuple[str, str, str], str] = {}
    for line in (ROOT / "docs" / "results.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 9 and cells[0] in TASKS and cells[1] in NAMES:
            task, method = TASKS[cells[0]], NAMES[cells[1]]
            found[task, method, "greedy"], found[task, method, "sampled"] = cells[2], cells[6]
    return found


def test_tables_and_data_are_one() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "study_differences.py"))
    outcomes = script["read_outcomes"](script["DATA"])
    kept: dict[tuple[str, str, str], str] = {}
    for kind in script["KINDS"]:
        rows = map(success_cells, success_table(outcomes, kind))
        kept |= {(row[0], row[1], kind): row[5] for row in rows}
    assert kept == shown()
    # Goals only is a reward of its own on LIBERO-10 alone, and all settings of TGRPO are known of one task.
    num_of_one_task = 1 + sum("`" in name or "members" in name for name in NAMES if name.startswith("TGRPO,"))
    assert len(kept) == (4 * len(NAMES) - 3 * num_of_one_task) * 2


def test_the_script_prints_differences(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the ketchup's five pairs: 12, 24, 24, 38 and 16 points; mean 22.8, t = 2.776, deviation 9.96."""
    arguments = ["study_differences.py", "--methods", "clone", "tgrpo", "--compare", "tgrpo-clone"]
    monkeypatch.setattr("sys.argv", arguments)
    runpy.run_path(str(ROOT / "scripts" / "study_differences.py"), run_name="__main__")
    assert "| object_4 | tgrpo - clone | 5 | 5/5 | +22.8 | [+10.4, +35.2] |" in capsys.readouterr().out
