"""What is simulated is LIBERO's model: the same values, and the same physics to the bit, without what is looked at."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from tgrpo_envs.errors import SceneError
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.scene.simulated import make_simulated_model
from tgrpo_envs.tasks import get_task

PACKS = ["primitive", pytest.param("libero", marks=pytest.mark.libero)]
# Objects on a floor, a cabinet with drawers and a stove, a bowl and a drawer on a table.
TASKS = [("libero_object", 0), ("libero_goal", 0), ("libero_10", 3)]
MEBIBYTE = 1 << 20

BALL_AND_PLATE = """
<mujoco>
  <asset>
    <mesh name="solid" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
    <mesh name="shown" vertex="0 0 0  2 0 0  0 1 0  0 0 1"/>
    <mesh name="around" vertex="0 0 0  3 0 0  0 1 0  0 0 1"/>
    <texture name="wood" type="2d" builtin="flat" width="8" height="8"/>
    <material name="wood" texture="wood"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1" material="wood"/>
    <body name="outer" pos="0 0 1">
      <freejoint/>
      <body name="inner" pos="1 0 0"><geom name="last" type="mesh" mesh="solid"/></body>
      <geom name="first" type="mesh" mesh="shown" material="wood" contype="0" conaffinity="0" pos="0 0 3" mass="5"/>
      <geom name="fitted" type="box" mesh="around" contype="0" conaffinity="0" mass="0"/>
    </body>
  </worldbody>
</mujoco>"""


def test_a_ball_stands_for_a_mesh_that_is_only_shown() -> None:
    """Its mass stays, and its place, which MuJoCo moves to the middle of the mesh."""
    whole = mujoco.MjModel.from_xml_string(BALL_AND_PLATE)
    model = make_simulated_model(BALL_AND_PLATE, whole)
    assert [model.geom(i).name for i in range(4)] == [
        "floor",
        "first",
        "fitted",
        "last",
    ]  # a body's own geoms come first
    assert (model.nmesh, model.ntex, model.nmat) == (2, 0, 0)
    assert model.geom("first").type == mujoco.mjtGeom.mjGEOM_SPHERE
    assert model.body("outer").mass == 5.0
    for name in ("geom_pos", "geom_quat", "body_inertia", "body_ipos", "dof_invweight0", "geom_rgba"):
        np.testing.assert_array_equal(getattr(model, name), getattr(whole, name), err_msg=name)
    assert model.stat.extent == whole.stat.extent


def test_another_number_of_geoms_is_refused() -> None:
    whole = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    with pytest.raises(SceneError, match=r"4 geoms and compiles to 1\."):
        make_simulated_model(BALL_AND_PLATE, whole)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(("suite", "task"), TASKS)
def test_physics_is_that_of_the_whole_model_to_the_bit(suite: str, task: int, pack: str) -> None:
    scene = load_scene(get_task(suite, task), pack)
    (state_X,) = official_states(scene).take(np.array([0])).states_NX
    torques_TU = np.random.default_rng(0).uniform(-3, 3, (40, scene.model.nu))
    scene.exact_model.opt.jacobian = scene.model.opt.jacobian  # sparse sums have another order
    ran: list[list[np.ndarray]] = []
    for model in (scene.model, scene.exact_model):
        data = mujoco.MjData(model)
        data.qpos[:] = state_X[1 : 1 + model.nq]
        ran.append([])
        for torques_U in torques_TU:
            data.ctrl[:] = torques_U
            mujoco.mj_step(model, data, 25)
            ran[-1] += [data.qpos.copy(), data.qvel.copy(), data.geom_xpos.copy(), data.geom_xmat.copy()]
    for ours, whole in zip(*ran, strict=True):
        np.testing.assert_array_equal(ours, whole)
    assert scene.model.nbuffer < 8 * MEBIBYTE < scene.exact_model.nbuffer


@pytest.mark.parametrize(("suite", "task", "is_sparse"), [("libero_object", 0, True), ("libero_10", 3, False)])
def test_contacts_are_solved_as_by_dense_matrices(suite: str, task: int, is_sparse: bool) -> None:
    """51 and 24 degrees of freedom; from one state with its contacts, the forces differ by rounding."""
    scene = load_scene(get_task(suite, task), "primitive")
    model = scene.model
    data = mujoco.MjData(model)
    data.qpos[:] = official_states(scene).states_NX[0][1 : 1 + model.nq]
    mujoco.mj_step(model, data, 25)
    assert bool(mujoco.mj_isSparse(model)) == is_sparse
    mujoco.mj_forward(model, data)
    ours_V, contacts = data.qacc.copy(), data.ncon
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    mujoco.mj_forward(model, data)
    assert data.ncon == contacts > 0
    np.testing.assert_allclose(ours_V, data.qacc, rtol=0, atol=1e-9)
