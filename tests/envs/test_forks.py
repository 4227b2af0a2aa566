"""An environment used again in a forked child goes on there, drawing too; nothing waits for the parent's threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

from tgrpo_envs.errors import RenderError
from tgrpo_envs.sim import opengl

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
PATIENCE_S = 300  # a hang, on however slow a machine


def make(**settings: Any) -> gym.vector.VectorEnv:
    return gym.make_vec(ENV_ID, num_envs=2, num_threads=2, assets="primitive", image_size=32, **settings)


def two_steps(envs: gym.vector.VectorEnv) -> list[np.ndarray]:
    return [array.copy() for _ in range(2) for array in envs.step(np.full((2, 7), 0.3))[0].values()]


def in_a_child(check: Callable[[], None]) -> int:
    """Fork, call `check` there, leave; the child's exit status: 14 (SIGALRM) where it hung."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent's test must not go on here
            traceback.print_exc()
        os._exit(status)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("settings", [{"cameras": ()}, {}, {"detail": "exact"}, {"tasks": [0, 1]}])
def test_a_child_goes_on_with_its_parents_environment(settings: dict[str, Any]) -> None:
    envs = make(**settings)
    envs.reset(seed=0)
    expected = two_steps(envs)
    envs.reset(seed=0)

    def check() -> None:
        assert all(map(np.array_equal, two_steps(envs), expected))
        envs.reset(seed=0)
        assert all(map(np.array_equal, two_steps(envs), expected))
        envs.close()

    assert in_a_child(check) == 0
    assert all(map(np.array_equal, two_steps(envs), expected))
    envs.close()


def test_a_child_that_never_uses_it_ends_quietly() -> None:
    """As a program of its own, whose child ends as programs do: destructors and exit handlers run."""
    program = f"""
import os, sys
import gymnasium as gym
envs = gym.make_vec({ENV_ID!r}, num_envs=2, num_threads=2, assets="primitive", image_size=32)
envs.reset(seed=0)
pid = os.fork()
if pid == 0:
    sys.exit(0)
sys.exit(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_gymnasiums_async_environment_forks_after_drawing() -> None:
    before = make()
    first = before.reset(seed=0)[0]["agentview"]
    forked = gym.make_vec(
        ENV_ID,
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": "fork"},
        assets="primitive",
        image_size=32,
    )
    assert isinstance(forked, AsyncVectorEnv)
    forked.reset_async(seed=0)
    assert np.array_equal(forked.reset_wait(timeout=PATIENCE_S)[0]["agentview"], first)
    forked.close()
    before.close()


def test_a_worker_of_multiprocessing_goes_on() -> None:
    """As a loader of data does that holds an environment."""
    envs = make()
    expected = envs.reset(seed=0)[0]["agentview"]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(envs.reset(seed=0)[0]["agentview"]))
    process.start()
    assert receiver.poll(PATIENCE_S)
    assert np.array_equal(receiver.recv(), expected)
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    envs.close()


def test_a_gpus_context_is_refused_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver of a GPU survives a fork. Whether this machine has one is the only thing made up."""
    envs = make(detail="exact")
    envs.reset(seed=0)
    monkeypatch.setattr(opengl, "has_gpu", lambda: True)
    monkeypatch.setattr(opengl, "_choice", lambda: ("egl", "on a GPU"))

    def check() -> None:
        with pytest.raises(RenderError, match="'spawn' or 'forkserver'"):
            envs.reset(seed=0)
        software = make()
        software.reset(seed=0)

    assert in_a_child(check) == 0
    envs.close()


def test_what_others_drew_with_threads_is_refused_in_a_child() -> None:
    """As LIBERO's own environment does, whose Mesa has a thread per core. The child would wait for them for ever."""
    program = f"""
import os
import gymnasium as gym
import mujoco
os.environ["LP_NUM_THREADS"] = "1"
context = mujoco.GLContext(32, 32)
context.make_current()
drawn = mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_50)
del os.environ["LP_NUM_THREADS"]
envs = gym.make_vec({ENV_ID!r}, num_envs=2, num_threads=2, assets="primitive", image_size=32, detail="exact")
envs.reset(seed=0)
pid = os.fork()
if pid == 0:
    try:
        envs.reset(seed=0)
    except Exception as error:
        os._exit(7 if "with threads of its own" in str(error) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "MUJOCO_GL": opengl._choice()[0]},
    )
    assert done.returncode == 7, done.stderr
