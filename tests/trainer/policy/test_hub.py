"""Checkpoints by name: folders go first, the hub gives a pinned commit and no code, each failure is one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.hub_server import COMMIT, REPOSITORY, serve
from tests.helpers.tiny_openvla import write_checkpoint
from tgrpo_envs.errors import CheckpointError, MissingExtraError
from tgrpo_trainer.bc.initial_policy import pin_checkpoint
from tgrpo_trainer.policy.hub import FoundCheckpoint, resolve_checkpoint
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.recipes import openvla_libero

ROOT = Path(__file__).resolve().parents[3]
HUB = ROOT / "tgrpo_trainer" / "policy" / "hub.py"
SCRIPT = """
import json, runpy, sys
from tgrpo_envs.errors import CheckpointError
resolve_checkpoint = runpy.run_path(sys.argv[1], run_name="hub")["resolve_checkpoint"]  # without importing torch
answers = []
for name in sys.argv[2:]:
    try:
        found = resolve_checkpoint(name)
        answers.append([str(found.folder), found.pinned])
    except CheckpointError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def resolve_elsewhere(names: Sequence[str], *, cache: Path, **environment: str) -> list[Any]:
    """In a process of its own: the hub's address and cache are read when its library is imported."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1", **environment}
    command = [sys.executable, "-c", SCRIPT, str(HUB), *names]
    finished = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    answers: list[Any] = json.loads(finished.stdout.splitlines()[-1])
    return answers


def test_the_hub_gives_a_pinned_snapshot_without_code_and_later_without_network(tmp_path: Path) -> None:
    published = write_checkpoint(tmp_path / "published")
    for harmful in ("modeling_prismatic.py", "pytorch_model.bin", "weights.pkl", "tokenizer.model", "README.md"):
        (published / harmful).write_text("never run")
    (published / "action_head--5_checkpoint.pt").write_text("a part")
    (published / "training--5_checkpoint.pt").write_text("none")
    (published / "checkpoints").mkdir()
    (published / "checkpoints" / "old.safetensors").write_text("")
    cache = tmp_path / "cache"
    with serve(published) as (address, asked):
        names = [REPOSITORY, f"{REPOSITORY}@v9", "somebody/nothing", "somebody/gated"]
        found, no_revision, nothing, gated = resolve_elsewhere(names, cache=cache, HF_ENDPOINT=address)
    folder, pinned = found
    assert pinned == f"{REPOSITORY}@{COMMIT}" and Path(folder).name == COMMIT
    expected = {path.name for path in published.iterdir() if path.suffix in (".json", ".safetensors")}
    expected |= {"tokenizer.model", "action_head--5_checkpoint.pt"}
    assert {path.name for path in Path(folder).iterdir()} == expected
    assert all((Path(folder) / name).read_bytes() == (published / name).read_bytes() for name in expected)
    assert not any(path.endswith((".py", ".bin", ".pkl")) for path in asked)
    assert no_revision == f"{REPOSITORY} has no revision v9; look at its branches on the hub."
    assert nothing.startswith("somebody/nothing is neither a folder here nor a model on the hub")
    assert gated.startswith("somebody/gated is gated: accept its terms")

    # Offline, from the cache: by its pinned name and by its branch; what is not there is one sentence.
    names = [pinned, REPOSITORY, "somebody/else"]
    again, by_branch, missing = resolve_elsewhere(names, cache=cache, HF_HUB_OFFLINE="1")
    assert again == by_branch == found
    assert missing.startswith("somebody/else is not in the hub's cache and cannot be downloaded (")
    assert "\n" not in missing


def test_a_folder_of_a_repository_is_named_after_it_and_pinned_with_it(tmp_path: Path) -> None:
    published = write_checkpoint(tmp_path / "published" / "suite" / "step-5").parent.parent
    (published / "suite" / "step-5" / "older").mkdir()
    for stray in (
        "config.json",
        "suite/other.json",
        "suite/step-5/older/config.json",
        "noisy_action_projector--5_a.pt",
    ):
        (published / stray).write_text("{}")
    name, cache = f"{REPOSITORY}/suite/step-5", tmp_path / "cache"
    with serve(published) as (address, _):
        names = [name, f"{name}@main", f"{name}@{COMMIT}", f"{name}@v9", f"{REPOSITORY}/suite/step-6"]
        answers = resolve_elsewhere(names, cache=cache, HF_ENDPOINT=address)
    folder, pinned = answers[0]
    assert pinned == f"{REPOSITORY}/suite/step-5@{COMMIT}" and Path(folder).parts[-3:] == (COMMIT, "suite", "step-5")
    here = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*")}
    assert here == {path.name for path in (published / "suite" / "step-5").iterdir() if path.is_file()}
    assert answers[1:3] == [answers[0]] * 2
    assert answers[3] == f"{REPOSITORY} has no revision v9; look at its branches on the hub."
    assert "it has no files of a policy in suite/step-6" in answers[4] and "\n" not in answers[4]
    assert resolve_elsewhere([pinned, name], cache=cache, HF_HUB_OFFLINE="1") == [answers[0]] * 2


@pytest.mark.parametrize("inside", ["", "/sub"])
def test_what_is_not_downloaded_still_says_that_the_model_is_another(tmp_path: Path, inside: str) -> None:
    published = write_checkpoint(tmp_path / f"published{inside}")
    (published / "noisy_action_projector--150000_checkpoint.pt").write_text("never read")
    with serve(tmp_path / "published") as (address, asked):
        (answer,) = resolve_elsewhere([f"{REPOSITORY}{inside}"], cache=tmp_path / "cache", HF_ENDPOINT=address)
    assert "noisy_action_projector--150000_checkpoint.pt, the noise projector" in answer and "\n" not in answer
    assert REPOSITORY in answer and not any("/resolve/" in path for path in asked)  # before anything was downloaded


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    (answer,) = resolve_elsewhere(["somebody/else"], cache=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert answer.startswith("somebody/else is not in the hub's cache and cannot be downloaded (")
    assert answer.endswith("or run again with a network.") and "\n" not in answer


def test_a_folder_goes_first_and_other_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    found = resolve_checkpoint("owner/name")
    assert (found.folder, found.pinned) == (Path("owner/name"), str(folder))
    for name in ("/no/such/folder", "a//b", "a/b/../c", "name", "../name", "owner/name@", "owner/na me"):
        with pytest.raises(CheckpointError, match="neither a folder nor a name on the hub"):
            resolve_checkpoint(name)


def test_without_the_hubs_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"on the hub needs .*'tgrpo\[train\]'"):
        resolve_checkpoint("openvla/openvla-7b")


def test_a_run_keeps_the_commit_it_found_and_folders_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = openvla_libero()
    assert pin_checkpoint(config) == config  # no checkpoint: refused when it starts, with what to give
    local = config.replace(policy={"kind": "openvla", "checkpoint": tmp_path})
    assert pin_checkpoint(local) == local and local.policy.checkpoint == str(tmp_path)
    # What the cache holds at one commit, as after a download.
    found = FoundCheckpoint(tmp_path / COMMIT, f"{REPOSITORY}@{COMMIT}")
    monkeypatch.setattr("tgrpo_trainer.bc.initial_policy.resolve_checkpoint", lambda name: found)
    on_the_hub = config.replace(policy={**config.policy.model_dump(), "checkpoint": REPOSITORY})
    pinned = pin_checkpoint(on_the_hub).policy
    assert pinned.checkpoint == f"{REPOSITORY}@{COMMIT}" and pinned.openvla == config.policy.openvla


def test_settings_hold_the_name_as_text(tmp_path: Path) -> None:
    assert PolicyConfig(checkpoint=tmp_path).checkpoint == str(tmp_path)  # type: ignore[arg-type]
    assert PolicyConfig(checkpoint="openvla/openvla-7b").checkpoint == "openvla/openvla-7b"
