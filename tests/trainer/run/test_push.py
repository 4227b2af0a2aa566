"""`export --push`: a policy and its page in a repository of a hub on this machine; refusals in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.hub_upload import COMMIT, serve_uploads
from tests.helpers.synthetic_run import make_evaluation
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import OutputError
from tgrpo_trainer.evaluation.result import save_evaluations
from tgrpo_trainer.run.layout import EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.run.push import make_repository
from tgrpo_trainer.train import train

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hf_not_a_real_token"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
        folder = tmp_path_factory.mktemp("runs") / "toy"
        train(toy_config(folder, 0))
    evaluations = [make_evaluation(0, "heldout", "greedy", 3, 4)]
    save_evaluations(folder / EVALUATIONS_NAME / f"{iteration_name(0)}.json", evaluations)
    return folder


def export(*words, folder, address, token=TOKEN):
    """In a process of its own: the hub's address is read when its library is imported."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": address}
    variables |= {"NO_PROXY": "127.0.0.1", "HF_TOKEN": token}
    command = [sys.executable, "-m", "tgrpo_trainer", "export", *map(str, words)]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)


def test_a_policy_is_uploaded_whole_with_a_page(run, tmp_path):
    words = (run / LAST_NAME / iteration_name(0), "out", "--push", "somebody/toy")
    with serve_uploads(TOKEN) as (address, repositories):
        done = export(*words, folder=tmp_path, address=address)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["Policy: out", f"Uploaded: {address}/somebody/toy/commit/{COMMIT}"]
        uploaded = repositories["somebody/toy"]
        page = uploaded["files"].pop("README.md").decode()
        assert uploaded["private"] is True
        assert uploaded["files"] == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert "# somebody/toy" in page and "`nano`" in page and "libero_object, task 0" in page
        assert "| heldout | greedy | 3/4 = 75% [30%, 95%] |" in page

        uploaded["files"]["README.md"] = b"my own page"
        again = export(run, "again", "--push", "somebody/toy", "--public", folder=tmp_path, address=address)
        assert again.returncode == 0, again.stderr
        assert uploaded["files"]["README.md"] == b"my own page"


def test_a_refusal_comes_before_the_export_and_is_one_sentence(run, tmp_path):
    with serve_uploads("another token") as (address, repositories):
        done = export(run, "out", "--push", "somebody/toy", folder=tmp_path, address=address)
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: somebody/toy cannot be written (the hub says") and done.stderr.count("\n") == 1
    )
    assert done.stderr.rstrip().endswith("give another place with --push.")
    assert not (tmp_path / "out").exists() and repositories == {}


def test_what_is_no_name_of_a_repository_is_refused():
    with pytest.raises(OutputError, match=r"no name cannot be written \(the hub says.*--push"):
        make_repository("no name", public=False)
