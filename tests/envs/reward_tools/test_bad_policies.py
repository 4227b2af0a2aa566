"""The scripted bad policies do what they say, and the snapshot tells them from an honest grasp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from scripts import measure_cheats
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.reward_tools.certify.bad_policies import Act, Actor, bad_policies
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import Snapshot
from tgrpo_envs.tasks import get_task

N = 1
CAN = ("in", "alphabet_soup_1", "basket_1_contain_region")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", 0), "primitive")


def play(scene: Scene, actor: Actor, steps: int) -> list[Snapshot]:
    """The moments of an episode, the reset first."""
    every = np.ones(N, dtype=bool)
    with closing(Simulator(scene, N, num_threads=1)) as simulator:
        simulator.reset(sample_train_states(scene, np.random.default_rng(3), N), every)
        moments = [simulator.snapshot.copy()]
        act = actor(simulator.snapshot)
        for step in range(steps):
            simulator.step(act(simulator.snapshot, step), every)
            moments.append(simulator.snapshot.copy())
    return moments


def honest(scene: Scene) -> Actor:
    def actor(start: Snapshot) -> Act:
        expert = ScriptedExpert(scene.layout, (CAN,), N)
        expert.reset(start, np.ones(N, dtype=bool))
        return lambda snapshot, _: expert.act(snapshot)

    return actor


def held_and_touched(scene: Scene, moments: list[Snapshot]) -> Iterator[tuple[bool, bool]]:
    row = scene.layout.object_row(CAN[1])
    return ((bool(now.finger_contact_NO2[0, row].all()), bool(now.touch_NO[0, row])) for now in moments)


def test_only_what_the_fingers_close_on_is_held(scene: Scene) -> None:
    """A can that an honest grasp lifts is held; shut fingers that press on, rub or shove it touch and hold nothing."""
    row = scene.layout.object_row(CAN[1])
    lifted = play(scene, honest(scene), 90)
    in_air = [now for now in lifted if now.object_pos_NO3[0, row, 2] > lifted[0].object_pos_NO3[0, row, 2] + 0.03]
    assert len(in_air) > 10
    assert all(held for held, _ in held_and_touched(scene, in_air[:10]))
    policies = bad_policies(scene.layout, CAN, has_expert=True)
    for name in ("press", "shove", "rub"):
        held, touched = zip(*held_and_touched(scene, play(scene, policies[name], 120)), strict=True)
        assert any(touched), name
        assert not any(held), name


def test_the_looser_grasp_of_the_cheats_table_is_the_touch_of_both_fingers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is held is touched; pressing touches with both fingers and holds nothing; the expert does not differ."""
    monkeypatch.setattr(measure_cheats, "STATES", 1)
    monkeypatch.setattr(measure_cheats, "STEPS", 80)
    row = scene.layout.object_row(CAN[1])
    episodes = {episode.name: episode for episode in measure_cheats.play(scene)}
    assert episodes.keys() == {measure_cheats.HONEST, "press", "shove", "rub", "hover", "drag", "fling"}
    for episode in episodes.values():
        assert (episode.loose.finger_contact_NO2 >= episode.strict.finger_contact_NO2).all()
    press, expert = episodes["press"], episodes[measure_cheats.HONEST]
    assert press.loose.finger_contact_NO2[:, row].all(axis=1).sum() > 10
    assert not press.strict.finger_contact_NO2[:, row].all(axis=1).any()
    held_M, touched_M = (each.finger_contact_NO2[:, row].all(axis=1) for each in (expert.strict, expert.loose))
    assert held_M.sum() > 20 and (touched_M & ~held_M).sum() <= 1
    lifted = measure_cheats._first_lift(expert.strict)
    height_M = expert.strict.object_pos_NO3[:, row, 2]
    assert height_M[lifted] >= height_M[0] + 0.02 > height_M[lifted - 1]
