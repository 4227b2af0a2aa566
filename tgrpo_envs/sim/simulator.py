"""N environments of one scene: one model, one mjData each, a few threads."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import ConfigError, RenderError, StateError
from tgrpo_envs.sim import control_block, controller
from tgrpo_envs.sim.control import LIBEROS, Control
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.opengl import draws_on_gpu
from tgrpo_envs.sim.pictures import Image, Picture, by_camera, camera_id, moves, parse_picture, segmentation_names
from tgrpo_envs.sim.pool import WorkerPool
from tgrpo_envs.sim.raster.rasterizer import Rasterizer
from tgrpo_envs.sim.render import Renderer
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.snapshot_fill import SnapshotWriter
from tgrpo_envs.sim.success import STOVE_ON

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

SETTLE_STEPS = 10  # control steps of doing nothing before an episode, as in every published LIBERO evaluation
SETTLE_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
PROPRIO_SIZE = 12
GPU_DRAWING_THREADS = 1
"""A GPU's driver lets the contexts of several threads wait for each other: 16 draw at a twentieth of one's speed."""

# What MuJoCo counts when a simulation blows up.
_INSTABILITY = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]
Images = Mapping[str, NDArray[np.generic]]
RowFunction = Callable[[int, int], None]  # of a worker's number and a row
_logger = logging.getLogger(__name__)


class Simulator:
    """Steps, resets and draws N environments of one scene.

    Args:
        scene: The compiled scene; its model is shared, not copied.
        num_envs: N.
        num_threads: Threads for physics and pictures; None takes one per core, at most one per picture. Where a GPU
            draws, one thread draws.
        cameras: Cameras that `render` will be asked for: ``agentview``, ``wrist`` or another one of the scene.
        image_size: Width and height of the pictures, pixels.
        render_size: Another width and height that `render` may be asked for; None is no other.
        detail: ``fast`` draws simplified meshes, one sample a pixel; ``exact`` LIBERO's pictures at ten times the cost;
            ``off`` draws nothing.
        control: How `step` reads actions. Settling is LIBERO's, whatever this is.

    Attributes:
        snapshot: What LIBERO's predicates would read now, overwritten in place by `reset` and `step`.
        proprio_NP: (N, 12) float32: gripper position (3, metres), first two columns of its rotation matrix (6), finger
            joints (2, metres), gripper command (-1 open to 1 closed); overwritten in place too.
        datas: MuJoCo's data of each environment, for tools that look deeper; writing to them is at your own risk. The
            model's sensors are off.
        blocks: The controller's memory of each (`sim.control_block`), for the same tools at the same risk.
        init_states: What each began with, which it is put back into when its physics diverges.
        thread_models: The model each thread uses.
        segmentation_names: What the numbers of a segmentation stand for.

    Raises:
        UnknownNameError: The scene has no such camera.
    """

    def __init__(
        self,
        scene: Scene,
        num_envs: int,
        *,
        num_threads: int | None = None,
        cameras: Sequence[str] = (),
        image_size: int = 128,
        render_size: int | None = None,
        detail: Literal["fast", "exact", "off"] = "fast",
        control: Control = LIBEROS,
    ) -> None:
        for camera in cameras:
            camera_id(scene.model, camera)
        mujoco.set_mju_user_warning(_log_warning)
        model, record = scene.model, scene.record
        self.scene = scene
        self.num_envs = num_envs
        self.snapshot = Snapshot.empty(scene.layout, num_envs)
        self.proprio_NP: NDArray[np.float32] = np.zeros((num_envs, PROPRIO_SIZE), dtype=np.float32)
        self._writer = SnapshotWriter(scene, self.snapshot)
        self.datas = [mujoco.MjData(model) for _ in range(num_envs)]
        self.blocks = [control_block.new_block(data, record.robot) for data in self.datas]
        for block in self.blocks:
            control_block.choose(block, control)
        self._warnings = [data.warning.number for data in self.datas]  # views that follow the data
        self.init_states = InitStates(
            np.zeros((num_envs, 1 + model.nq + model.nv)), np.zeros((num_envs, len(scene.fixture_bodies), 7))
        )
        joints = {entry.object: entry.qpos_address for entry in record.joints}
        self._burners = [(site, joints[name]) for name, sites in record.visible_sites.items() for site in sites]
        # Cameras are drawn side by side where there are threads for it.
        threads = num_threads or min(num_envs * max(1, len(cameras)), os.cpu_count() or 1)
        # Fixtures are placed by writing into the model, so where there are any each thread writes into its own copy.
        self.thread_models = [copy.copy(model) if scene.fixture_bodies else model for _ in range(threads)]
        self._rasterizers: list[Rasterizer | None] = [None] * threads
        self._own = threading.local()  # each thread's renderer, at `exact`
        self.segmentation_names = segmentation_names(record)
        self._sizes = (image_size, image_size if render_size is None else render_size)
        self._detail = detail
        self._control = control
        self._pool = WorkerPool(threads)

    def reset(self, init: InitStates, mask_N: BoolArray, *, settle: bool = True, images: Images | None = None) -> None:
        """Put the masked environments into the states of the same rows and let them settle.

        Rows that are equal are settled, and drawn, once.

        Args:
            init: N states; rows outside the mask are ignored.
            mask_N: Which environments to reset.
            settle: Whether to do nothing for `SETTLE_STEPS` control steps first. Without, the snapshot and pictures
                show the states as they are, which serves to replay recorded ones.
            images: What to draw of them, as `render` takes it.

        Raises:
            StateError: The states do not fit the scene or the number of environments.
            RenderError: See `render`.
        """
        self._pool.settle()
        states_NX, fixtures_NF7 = self.init_states.states_NX, self.init_states.fixtures_NF7
        for given, kept in ((init.states_NX, states_NX), (init.fixtures_NF7, fixtures_NF7)):
            if given.shape != kept.shape:
                raise StateError(
                    f"Initial states have an array of shape {given.shape}; this simulator takes {kept.shape}."
                )
            kept[mask_N] = given[mask_N]
        controller.install()
        leaders: dict[bytes, int] = {}
        followers: list[tuple[int, int]] = []
        for row in np.flatnonzero(mask_N).tolist():
            key = states_NX[row].tobytes() + fixtures_NF7[row].tobytes()
            leader = leaders.setdefault(key, row)
            if leader != row:
                followers.append((row, leader))

        def start(worker: int, row: int) -> None:
            self._restore(worker, row)
            control_block.choose(self.blocks[row], LIBEROS)
            for _ in range(SETTLE_STEPS if settle else 0):
                self._advance(worker, row, SETTLE_ACTION)
            control_block.choose(self.blocks[row], self._control)
            self._publish(row)

        self._map_and_draw(start, list(leaders.values()), images)
        for row, leader in followers:
            self._copy(row, leader)
            for array in (images or {}).values():
                array[row] = array[leader]

    def step(self, actions_NA: FloatArray, mask_N: BoolArray, images: Images | None = None) -> BoolArray:
        """One control step (20 Hz) of the masked environments.

        Args:
            actions_NA: (N, A) as the control has them, the gripper's sign last; LIBERO's are (N, 7) in [-1, 1], and
                larger values are clipped.
            mask_N: Which environments to step.
            images: What to draw of them afterwards, as `render` takes it.

        Returns:
            Which of them diverged: their physics became unstable. They are put back into their initial state, so that
            what they show is finite; their episode says nothing.
        """
        controller.install()  # another library may have taken the callback since
        diverged_N: BoolArray = np.zeros(self.num_envs, dtype=bool)

        def step_one(worker: int, row: int) -> None:
            self._advance(worker, row, actions_NA[row])
            if self._warnings[row][_INSTABILITY].any():
                diverged_N[row] = True
                self._restore(worker, row)
            self._publish(row)

        self._map_and_draw(step_one, np.flatnonzero(mask_N).tolist(), images)
        return diverged_N

    def render(self, images: Images, mask_N: BoolArray) -> None:
        """Draw the masked environments.

        Args:
            images: Arrays of N rows, filled in place for the masked ones, upright, by a camera's name for its colours
                (H, W, 3) uint8, the name and ``_depth`` for the distance along its axis (H, W) float32 in metres, the
                name and ``_segmentation`` for rows of `segmentation_names` (H, W) int32.
            mask_N: Which environments to draw.

        Raises:
            UnknownNameError: The scene has no such camera.
            RenderError: An array of another shape, detail ``off``, a shape that `fast` cannot draw, or at ``exact`` no
                usable OpenGL on this machine or one that died.
        """
        self._map_drawing(self._checked(images), np.flatnonzero(mask_N).tolist())

    def _map_and_draw(self, work: RowFunction, rows: Sequence[int], images: Images | None) -> None:
        """Call `work(worker, row)` of every row, and draw the row on the same thread at once.

        Nobody waits for the slowest step before drawing, and what was just computed is still in the core's caches.
        Where two threads are free for each row, its cameras are drawn side by side instead.
        """
        if not images:
            self._pool.map(work, rows)
            return
        pictures = self._checked(images)
        if self._draws_on_gpu() or self._has_threads_to_spare(rows):
            self._pool.map(work, rows)
            self._map_drawing(pictures, rows)
            return

        def work_and_draw(worker: int, row: int) -> None:
            work(worker, row)
            self._draw(worker, row, pictures)

        self._pool.map(work_and_draw, rows, own_thread=self._detail == "exact")

    def _map_drawing(self, pictures: Mapping[Picture, Image], rows: Sequence[int]) -> None:
        parts = [pictures]
        if self._has_threads_to_spare(rows):
            # First the cameras that move, which show more that has to be drawn: another thread takes a while to wake.
            model = self.scene.model
            cameras = sorted(by_camera(pictures), key=lambda camera: not moves(model, camera))
            parts = [{p: array for p, array in pictures.items() if p.camera == camera} for camera in cameras]
        tasks = [(row, part) for part in parts for row in rows]
        self._pool.map(
            lambda worker, task: self._draw(worker, *tasks[task]),
            range(len(tasks)),
            own_thread=self._detail == "exact",
            at_most=GPU_DRAWING_THREADS if self._draws_on_gpu() else None,
        )

    def _has_threads_to_spare(self, rows: Sequence[int]) -> bool:
        """Whether two threads can draw each row at once, as OpenGL's contexts cannot."""
        return self._detail == "fast" and 2 * len(rows) <= len(self.thread_models)

    def _draws_on_gpu(self) -> bool:
        return self._detail == "exact" and draws_on_gpu()

    def _checked(self, images: Images) -> dict[Picture, Image]:
        """The arrays by what they are pictures of, if each has its shape."""
        if self._detail == "off":
            raise RenderError("This simulator draws no pictures (detail='off'); make it with 'fast' or 'exact'.")
        pictures = {parse_picture(key): array for key, array in images.items()}
        asked = [array.shape[1] for array in images.values() if array.ndim > 1][:1]
        size = asked[0] if asked and asked[0] in self._sizes else self._sizes[0]
        for (key, array), picture in zip(images.items(), pictures, strict=True):
            camera_id(self.scene.model, picture.camera)
            expected = (self.num_envs, *picture.shape(size))
            if array.shape != expected or array.dtype != picture.dtype:
                kind = picture.dtype.__name__
                raise RenderError(f"{key!r} needs a {kind} array {expected}, not {array.dtype} {array.shape}.")
        # Read here once, rather than by every thread at its first picture.
        self.scene.drawing if self._detail == "fast" else self.scene.exact_model  # noqa: B018
        return pictures

    def _draw(self, worker: int, row: int, pictures: Mapping[Picture, Image]) -> None:
        """Draw one row; at ``exact`` on the worker's own thread."""
        model = self.thread_models[worker]
        for site, qpos_address in self._burners:
            model.site_rgba[site, 3] = self.datas[row].qpos[qpos_address] >= STOVE_ON
        images = {picture: array[row] for picture, array in pictures.items()}
        if self._detail == "fast":
            self._rasterizer(worker).draw(model, self.datas[row], images)
            return
        renderer = getattr(self._own, "renderer", None) or self._new_renderer(worker)
        try:
            renderer.draw(self._model(worker, row), self.datas[row], images)
        except RenderError:
            self._own.renderer = None
            renderer.close()
            raise

    def _rasterizer(self, worker: int) -> Rasterizer:
        found = self._rasterizers[worker]
        if found is None:
            scene = self.scene
            found = self._rasterizers[worker] = Rasterizer(
                scene.model, scene.record, scene.drawing, scene.fixture_bodies
            )
        return found

    def _new_renderer(self, worker: int) -> Renderer:
        renderer = self._own.renderer = Renderer(self.scene.exact_model, self.scene.record, max(self._sizes))
        self._pool.at_end(worker, renderer.close)
        return renderer

    def get_states(self) -> InitStates:
        """The present states of all environments, as `reset` takes them (it will settle them again)."""
        self._pool.settle()
        states_NX = np.stack([np.concatenate([[data.time], data.qpos, data.qvel]) for data in self.datas])
        return InitStates(states_NX, self.init_states.fixtures_NF7.copy())

    def close(self) -> None:
        """End the threads; closing twice is harmless."""
        self._pool.close()

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            "A Simulator holds threads and MuJoCo's memory, so it cannot be copied; copy its environment instead."
        )

    def _advance(self, worker: int, row: int, action_A: FloatArray) -> None:
        control_block.step(self._model(worker, row), self.datas[row], self.blocks[row], action_A)

    def _model(self, worker: int, row: int) -> mujoco.MjModel:
        """The worker's model, with the fixtures as they are in this environment."""
        model = self.thread_models[worker]
        bodies = self.scene.fixture_bodies
        if bodies:
            pos_B3, quat_B4 = model.body_pos, model.body_quat
            for body, pose_7 in zip(bodies, self.init_states.fixtures_NF7[row], strict=True):
                pos_B3[body], quat_B4[body] = pose_7[:3], pose_7[3:]
        return model

    def _restore(self, worker: int, row: int) -> None:
        """Bring one environment to its initial state, at rest, with the controller as after LIBERO's reset."""
        model, data, state_X = self._model(worker, row), self.datas[row], self.init_states.states_NX[row]
        mujoco.mj_resetData(model, data)
        data.time = state_X[0]
        data.qpos[:], data.qvel[:] = state_X[1 : 1 + model.nq], state_X[1 + model.nq :]
        mujoco.mj_forward(model, data)
        control_block.attach(data, self.blocks[row])
        control_block.begin_episode(self.blocks[row], self.scene.record.robot)

    def _copy(self, row: int, source: int) -> None:
        pairs = [(self.datas[i], self.blocks[i]) for i in (source, row)]
        control_block.copy_episode(self.scene.model, *pairs)
        self._publish(row)

    def _publish(self, row: int) -> None:
        self._writer.write(row, self.datas[row])
        proprio, mat = self.proprio_NP[row], self.snapshot.gripper_mat_N33[row]
        proprio[:3] = self.snapshot.gripper_pos_N3[row]
        proprio[3:6], proprio[6:9] = mat[:, 0], mat[:, 1]
        proprio[9:11] = self.snapshot.finger_qpos_N2[row]
        proprio[11] = self.blocks[row][controller.GRIPPER]


def _log_warning(message: str) -> None:
    """MuJoCo's default writes MUJOCO_LOG.TXT into the working directory; a log record says the same."""
    _logger.warning("MuJoCo: %s", message)
