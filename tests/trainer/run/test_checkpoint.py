"""Checkpoints are whole or absent, exact, honest about damage, and kept within bounds."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.made_up import flat_parameters, random_input, tiny_nano
from tests.helpers.runs import latest
from tests.helpers.scripted_policy import StraightPolicy
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.run.checkpoint import (
    best_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)


def save(root: Path, iteration: int, score: float | None = None, state: dict[str, Any] | None = None) -> Path:
    return save_checkpoint(root, iteration=iteration, policy=tiny_nano(iteration), state=state or {}, score=score)


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(7, generator=generator)
    state: dict[str, Any] = {
        "generator": generator.get_state(),
        "numbers": {"seed": 2**127 + 1, "best": 0.1 + 0.2, "name": "run", "list": [1, None, True]},
        "weights": torch.randn(3, dtype=torch.float64),
    }
    loaded = load_checkpoint(save(tmp_path, 40, score=0.5, state=state))
    assert (loaded.iteration, loaded.score) == (40, 0.5)
    assert isinstance(loaded.policy, NanoPolicy)
    assert loaded.state["numbers"] == state["numbers"]
    assert torch.equal(loaded.state["weights"], state["weights"])
    assert torch.equal(flat_parameters(loaded.policy), flat_parameters(tiny_nano(40)))
    restored = torch.Generator()
    restored.set_state(loaded.state["generator"])
    assert torch.equal(torch.rand(5, generator=restored), torch.rand(5, generator=generator))


def test_the_latest_and_the_best_are_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nowhere") is None and best_checkpoint(tmp_path) is None
    for iteration, score in ((9, 0.25), (10, 0.75), (11, None), (100, 0.5), (12, 0.75)):
        save(tmp_path, iteration, score)
    assert latest_checkpoint(tmp_path) == tmp_path / "iteration_000100"
    assert best_checkpoint(tmp_path) == tmp_path / "iteration_000012"


def test_an_interrupted_save_is_not_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iteration_000001"]
    save(tmp_path, 2)
    assert load_checkpoint(latest(tmp_path)).iteration == 2
    assert not list(tmp_path.glob("*.partial"))


def test_saving_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 5, score=0.1)
    save(tmp_path, 5, score=0.9)
    assert load_checkpoint(latest(tmp_path)).score == 0.9


@pytest.mark.parametrize("name", ["state.pt", "policy/policy.safetensors", "policy/config.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damage_is_noticed_and_the_file_named(tmp_path: Path, name: str, damage: str) -> None:
    path = save(tmp_path, 1, state={"numbers": [1, 2, 3]}) / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[random.Random(0).randrange(len(content) // 2)] ^= 0x80
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load_checkpoint(latest(tmp_path))


def test_pruning_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    for iteration, score in ((1, 0.2), (2, 0.9), (3, 0.4), (4, None), (5, 0.1)):
        save(tmp_path, iteration, score)
    (tmp_path / "iteration_000006.partial").mkdir()
    prune_checkpoints(tmp_path, keep_last=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["iteration_000002", "iteration_000004", "iteration_000005"]
    prune_checkpoints(tmp_path, keep_last=5)
    assert len(list_checkpoints(tmp_path)) == 3


def test_an_optimiser_comes_back_exactly_in_the_layout_of_its_parameters(tmp_path: Path) -> None:
    policies = [tiny_nano(), tiny_nano()]
    optimizers = [torch.optim.AdamW(policy.parameters(), lr=0.25) for policy in policies]
    logp_NK = policies[0].log_prob(random_input(2), torch.zeros(2, 7, dtype=torch.int64)).logp_NK
    logp_NK.sum().backward()
    optimizers[0].step()
    folder = save_checkpoint(tmp_path, iteration=1, policy=policies[0], state={}, optimizer=optimizers[0])
    load_checkpoint(folder).restore_optimizer(policies[1], optimizers[1])
    assert optimizers[1].param_groups[0]["lr"] == 0.25
    for mine, other in zip(policies[0].parameters(), policies[1].parameters(), strict=True):
        assert optimizers[0].state[mine].keys() == optimizers[1].state[other].keys()
        for entry, value in optimizers[0].state[mine].items():
            again = optimizers[1].state[other][entry]
            assert torch.equal(again, value) and again.stride() == value.stride()


def test_the_state_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    policy = tiny_nano()
    optimizer = torch.optim.AdamW(policy.parameters())
    logp_NK = policy.log_prob(random_input(2), torch.zeros(2, 7, dtype=torch.int64)).logp_NK
    logp_NK.sum().backward()
    optimizer.step()
    folder = save_checkpoint(tmp_path, iteration=1, policy=policy, state={}, optimizer=optimizer)
    other = StraightPolicy()
    with pytest.raises(CheckpointError, match="is not a parameter of this policy"):
        load_checkpoint(folder).restore_optimizer(other, torch.optim.AdamW(other.parameters()))
    evaluated = load_checkpoint(save(tmp_path / "evaluated", 3))
    with pytest.raises(CheckpointError, match=r"--policy\.checkpoint"):
        evaluated.restore_optimizer(policy, optimizer)


def test_one_folder_holds_no_file_that_the_manifest_does_not_know(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"policy/config.json", "policy/policy.safetensors", "state.pt", "manifest.json"}
