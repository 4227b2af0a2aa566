"""OpenGL is given back without a word on stderr, whether or not anyone closed the environment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from tgrpo_envs.sim.pool import WorkerPool

PROGRAM = """
import atexit, gc
import gymnasium as gym
import numpy as np
import tgrpo_envs

def opened():
    settings = {"assets": "primitive", "image_size": 32, "detail": "exact"}
    envs = gym.make_vec("TGRPO-LiberoObject-v0", num_envs=2, num_threads=2, **settings)
    envs.reset(seed=0)
    assert envs.step(np.zeros((2, 7)))[0]["agentview"].std() > 10
    return envs

garbage = opened()
del garbage
gc.collect()
closed_by_a_handler = opened()
atexit.register(closed_by_a_handler.close)
left_open = opened()
"""


@pytest.mark.parametrize("backend", ["egl", pytest.param("osmesa", marks=pytest.mark.osmesa)])
def test_nothing_is_said_at_exit(backend: str) -> None:
    environment = {**os.environ, "MUJOCO_GL": backend}
    environment.pop("PYOPENGL_PLATFORM", None)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_last_jobs_run_on_their_own_thread_in_reverse() -> None:
    pool = WorkerPool(2)
    ran: list[str] = []

    def run(job: str) -> None:
        ran.append(f"{job} on {threading.current_thread().name}")

    for job in ("first", "second"):
        pool.at_end(1, partial(run, job))
    pool.close()
    pool.close()
    assert ran == ["second on tgrpo-worker-1", "first on tgrpo-worker-1"]
