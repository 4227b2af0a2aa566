"""LIBERO's state from the environment's proprioception: beside the simulator's own, and normalised by hand."""

from __future__ import annotations

import numpy as np
import torch

from tgrpo_envs.bridges.libero import axis_angle, proprio, state
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task
from tgrpo_trainer.policy.libero_state import libero_state
from tgrpo_trainer.policy.openvla.actions import Statistics
from tgrpo_trainer.policy.openvla.proprio import ProprioCodec


def test_it_is_the_simulators_state_whatever_the_angle() -> None:
    scene = load_scene(get_task("libero_object", 0), "primitive")
    simulator = Simulator(scene, 2, cameras=())
    simulator.reset(official_states(scene).take(np.array([3, 7])), np.ones(2, dtype=bool))
    rng, seen = np.random.default_rng(0), []
    for step in range(60):
        if step % 10 == 0:
            actions_NA = rng.uniform(-0.5, 0.5, (2, 7))
        expected_N8 = state(simulator, [0, 1])
        ours_N8 = libero_state(torch.tensor(simulator.proprio_NP)).numpy()
        np.testing.assert_allclose(ours_N8, expected_N8, rtol=0, atol=5e-6)
        seen.append(expected_N8[:, 3:6])
        simulator.step(actions_NA, np.ones(2, dtype=bool))
    simulator.close()
    angles = np.linalg.norm(np.concatenate(seen), axis=1)
    assert angles.min() < np.pi < angles.max()  # a folded angle would have been another


def test_any_rotation_with_a_positive_x_comes_back() -> None:
    rng = np.random.default_rng(1)
    quaternions_N4 = rng.normal(size=(500, 4))
    quaternions_N4[:4] = np.eye(4)  # each entry is the largest of one
    quaternions_N4[1:4, 0] = 1e-3
    quaternions_N4 /= np.linalg.norm(quaternions_N4, axis=1, keepdims=True)
    quaternions_N4 *= np.sign(quaternions_N4[:, :1])
    vectors_N3 = axis_angle(quaternions_N4)
    states_N8 = np.concatenate([np.zeros((500, 3)), vectors_N3, np.zeros((500, 2))], axis=1)
    proprio_NP = torch.tensor(np.stack([proprio(state_8, 1.0) for state_8 in states_N8]))
    # float32 columns are known to 6e-8 and the angle to the root of that near a full turn, which no arm makes.
    np.testing.assert_allclose(libero_state(proprio_NP)[:, 3:6], vectors_N3, rtol=0, atol=2e-3)
    usual = np.linalg.norm(vectors_N3, axis=1) < 6.0
    np.testing.assert_allclose(libero_state(proprio_NP)[usual, 3:6], vectors_N3[usual], rtol=0, atol=1e-5)


def test_normalising_by_hand() -> None:
    low, high = (0.0, -1.0, 0.5, 1.0, -3.0, -2.0, 0.0, -0.04), (1.0, 1.0, 0.7, 3.5, 3.0, 2.0, 0.04, 0.0)
    codec = ProprioCodec(Statistics("made up", low, high, (True,) * 7 + (False,)))
    state_8 = np.array([0.25, 0.5, 0.9, 3.0, 0.0, 0.0, 0.01, -0.03])
    unit_NP = codec.encode(torch.tensor(proprio(state_8, -1.0))[None])
    # 2 (0.25 - 0) / 1 - 1; 2 (1.5) / 2 - 1; clipped; 2 (2.0) / 2.5 - 1; 0; 0; 2 (0.01) / 0.04 - 1; as it is
    expected = [-0.5, 0.5, 1.0, 0.6, 0.0, 0.0, -0.5, -0.03]
    np.testing.assert_allclose(unit_NP[0], expected, rtol=0, atol=1e-6)
