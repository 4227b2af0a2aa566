"""`export --push`: a policy and its page in a repository of a hub on this machine; refusals in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.hub_upload import COMMIT, serve_uploads
from tests.helpers.synthetic_run import make_evaluation
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import OutputError
from tgrpo_trainer.evaluation.result import save_evaluations
from tgrpo_trainer.export import model_card
from tgrpo_trainer.run.layout import EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.run.push import make_repository
from tgrpo_trainer.train import train

ROOT = Path(__file__).resolve().parents[3]
Exported = tuple[subprocess.CompletedProcess[str], str, dict[str, dict[str, Any]], Path]
TOKEN = "hf_not_a_real_token"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
        folder = tmp_path_factory.mktemp("runs") / "toy"
        train(toy_config(folder, 0))
    evaluations = [make_evaluation(0, "heldout", "greedy", 3, 4)]
    save_evaluations(folder / EVALUATIONS_NAME / f"{iteration_name(0)}.json", evaluations)
    return folder


SCRIPT = """
import os, sys
from tgrpo_trainer.__main__ import main

checkpoint, run = sys.argv[1:]
print(main(["export", checkpoint, "out", "--push", "somebody/toy"]))
print(main(["export", run, "again", "--push", "somebody/toys", "--public"]))
os.environ["HF_TOKEN"] = "of somebody else"
print(main(["export", run, "refused", "--push", "somebody/other"]))
"""


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What the three commands printed, the hub's address and what it keeps then; a folder of the exports.

    They share a process of their own: the hub's address is read when its library is imported.
    """
    folder = tmp_path_factory.mktemp("exports")
    with serve_uploads(TOKEN) as (address, repositories):
        repositories["somebody/toys"] = {"private": False, "files": {"README.md": b"my own page"}}
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": address}
        variables |= {"NO_PROXY": "127.0.0.1", "HF_TOKEN": TOKEN}
        command = [sys.executable, "-c", SCRIPT, str(run / LAST_NAME / iteration_name(0)), str(run)]
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=True)
    return done, address, repositories, folder


def test_a_policy_is_uploaded_whole_with_a_page(exported: Exported) -> None:
    done, address, repositories, folder = exported
    assert done.stdout.splitlines()[:3] == ["Policy: out", f"Uploaded: {address}/somebody/toy/commit/{COMMIT}", "0"]
    uploaded = repositories["somebody/toy"]
    assert uploaded["private"] is True
    policy = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    page = uploaded["files"]["README.md"].decode()
    assert uploaded["files"] == {**policy, "README.md": page.encode()}
    assert "# somebody/toy" in page and "`nano`" in page and "libero_object, task 0" in page
    assert "| heldout | greedy | 3/4 = 75% [30%, 95%] |" in page
    assert "\npython -m tgrpo_trainer eval somebody/toy --suite libero_object --tasks 0\n" in page


def test_a_page_of_unknown_or_unnamed_tasks_leaves_them_to_the_reader(tmp_path: Path) -> None:
    assert "eval somebody/toy --suite SUITE --tasks TASKS\n" in model_card(tmp_path, "somebody/toy")


def test_a_page_that_is_there_stays(exported: Exported) -> None:
    files = exported[2]["somebody/toys"]["files"]
    assert files.pop("README.md") == b"my own page"
    assert sorted(files) == sorted(path.name for path in (exported[3] / "again").iterdir())


def test_a_refusal_comes_before_the_export_and_is_one_sentence(exported: Exported) -> None:
    done, _, repositories, folder = exported
    assert done.stdout.splitlines()[-1] == "2"
    assert done.stderr.startswith("error: somebody/other cannot be written (the hub says")
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith("give another place with --push.")
    assert not (folder / "refused").exists() and "somebody/other" not in repositories


def test_what_is_no_name_of_a_repository_is_refused() -> None:
    with pytest.raises(OutputError, match=r"no name cannot be written \(the hub says.*--push"):
        make_repository("no name", public=False)
