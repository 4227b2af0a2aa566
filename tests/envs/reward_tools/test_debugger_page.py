"""The page of an episode: one file, nothing from outside, no script but its own, numbers from the trace."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tyro

from tests.helpers.reward_cases import CAN, LAYOUT, make_spec, random_goals, random_snapshot
from tgrpo_envs.errors import ConfigError, SpecError, StateError, UnknownNameError
from tgrpo_envs.recording.play import initial_state, record_episode
from tgrpo_envs.reward_tools.explain.commands import show
from tgrpo_envs.reward_tools.explain.page import episode_page
from tgrpo_envs.rewards import CreditProfile, choose_spec, save_spec
from tgrpo_envs.rewards.shipped import spec_path
from tgrpo_envs.rewards.trace import Trace, trace
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import get_task

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
VOID = {"meta", "img", "input", "br"}


class Tags(HTMLParser):
    """Every element with its attributes, and what the scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def random_trace(rationale: str = "") -> Trace:
    rng = np.random.default_rng(3)
    stages = [
        {"id": "first", "effort": 1, "done": {"op": "touching", "a": CAN}, "rationale": rationale},
        {"id": "second", "effort": 2, "after": ["first"], "done": {"op": "goal", "index": 0},
         "ramp": {"op": "raise", "a": CAN, "to_m": 0.05}},
    ]  # fmt: skip
    spec = make_spec(stages, [{"holds": {"op": "upright", "a": CAN, "within_deg": 20.0}}])
    goals = random_goals(rng, 20)
    return trace(spec, LAYOUT, random_snapshot(rng, 20), goals, horizon=50, profile=CreditProfile())


def check_is_inert(text: str) -> Tags:
    """No address outside, no handler, no script but the page's data and its own, all elements closed."""
    tags = Tags(text)
    assert tags.open == []
    assert "://" not in text
    scripts = [attributes for tag, attributes in tags.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "trace"}, {}]
    for tag, attributes in tags.found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            address = attributes.get(name, "data:")
            assert address is not None and address.startswith("data:"), tag
    return tags


def test_text_from_files_never_becomes_markup() -> None:
    told = random_trace(rationale=ATTACK)
    page = episode_page(told, ATTACK, ATTACK, [("in", ATTACK, ATTACK), ("in", "b", "c")], ATTACK)
    data = check_is_inert(page).scripts[0]
    assert "<" not in data and ">" not in data
    assert "alert(1)" in json.dumps(json.loads(data))  # it is there, as text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_runs_only_the_script_it_names_by_hash() -> None:
    tags = Tags(episode_page(random_trace(), "a", "b", (), "none"))
    policy = next(a["content"] for tag, a in tags.found if tag == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy and "unsafe-eval" not in policy


def test_the_page_holds_the_traces_numbers() -> None:
    told = random_trace()
    data = json.loads(Tags(episode_page(told, "a", "b", (), "none")).scripts[0])
    assert len(data["explanations"]) == 20
    assert data["paid"] == np.flatnonzero(told.reward_M).tolist()
    assert data["readings"]["curves"][7] == (
        f"φ {told.progress_M[7]:.4f}, M {told.best_M[7]:.4f}, ψ {told.psi_M[7]:.4f}"
    )
    assert data["readings"]["reward"][-1].endswith(f"return {told.reward_M.sum():.4f}")
    assert [
        [state in ("done", "goal") for state in states] for states in data["states"]
    ] == told.verdict.done_KN.tolist()
    assert len(data["readings"]) == 2 + 2 + 3 + 1  # stages, curves, atoms, rule


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = load_scene(get_task("libero_object", 0), "primitive")
    path = tmp_path_factory.mktemp("debugger") / "<b>expert.npz"
    record_episode(scene, initial_state(scene, "train", index=0, seed=11), "expert").save(path)
    return path


def test_the_command_writes_a_page_with_a_video(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    assert show(recorded, out, assets="primitive", image_size=64) == f"page: {out}"
    text = out.read_text(encoding="utf-8")
    tags = check_is_inert(text)
    assert any(tag in ("video", "img") for tag, _ in tags.found)
    assert json.loads(tags.scripts[0])["explanations"][-1]["tone"] == "success"
    assert "LIBERO counts alphabet soup 1 as in the contain region of basket 1" in text


def test_without_the_scene_the_page_says_so(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    words = ["show", str(recorded), "--out", str(out), "--assets", str(tmp_path / "no_pack")]
    said = tyro.extras.subcommand_cli_from_dict({"show": show, "other": str}, args=words)
    assert "without a video" in said
    text = out.read_text(encoding="utf-8")
    assert "No video:" in text and "no_pack" in text
    assert not [tag for tag, _ in check_is_inert(text).found if tag == "video"]


def test_a_spec_file_needs_no_libero(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = load_scene(get_task("libero_object", 0), "primitive")
    spec = tmp_path / "spec.json"
    save_spec(choose_spec("compiled", scene.problem, scene.task), spec)
    monkeypatch.setattr("tgrpo_envs.tasks.bddl_path", None)  # calling it would fail
    show(recorded, tmp_path / "page.html", reward=str(spec), assets=str(tmp_path / "no_pack"))
    assert "Reach alphabet soup 1" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_spec_of_another_task_explains_nothing(recorded: Path, tmp_path: Path) -> None:
    other = spec_path(get_task("libero_object", 1), "compiled")
    with pytest.raises(SpecError, match=r"is for libero_object/pick_up_the_cream_cheese.*give a spec of that task"):
        show(recorded, tmp_path / "page.html", reward=str(other))
    with pytest.raises(UnknownNameError, match=r"'compild'\. Did you mean 'compiled'"):
        show(recorded, tmp_path / "page.html", reward="compild")


@pytest.mark.parametrize("image_size", [0, -3, 1025])
def test_a_size_that_no_picture_has_is_refused(recorded: Path, tmp_path: Path, image_size: int) -> None:
    with pytest.raises(ConfigError, match=f"--image-size={image_size} must be a whole number from 1 to 1024"):
        show(recorded, tmp_path / "page.html", image_size=image_size)


def test_a_file_that_is_no_episode_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"none\.npz"):
        show(tmp_path / "none.npz", tmp_path / "page.html")
