"""Ctrl-C and other exceptions out of signal handlers: no worker works on, and a reset plays the same episodes."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import tgrpo_envs
from tests.helpers.interrupts import CASES, ENV_ID, hammer, play
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.sim.pool import WorkerPool

SOURCES = str(Path(tgrpo_envs.__file__).parent)


def is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(SOURCES)


@pytest.fixture
def alarms_interrupt() -> Iterator[None]:
    former = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGALRM, former)


def main_thread() -> int:
    ident = threading.main_thread().ident
    assert ident is not None
    return ident


def raises_at(number: int, call: Callable[[], object], event: str, traced: Callable[[CodeType], bool]) -> bool:
    """Call, and raise KeyboardInterrupt at the so many-th line or opcode of ours; whether there are so many."""
    left = number

    def trace(frame: FrameType, got: str, _arg: object) -> Callable[..., Any] | None:
        nonlocal left
        if not traced(frame.f_code):
            return None
        frame.f_trace_opcodes = event == "opcode"
        if got == event:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(former)
    return False


def test_workers_are_idle_whichever_bytecode_is_interrupted() -> None:
    pool = WorkerPool(2)
    working = [0, 0]

    def work(worker: int, _row: int) -> None:
        working[worker] += 1
        time.sleep(0.002)
        working[worker] -= 1

    number = 0
    while raises_at(number, lambda: pool.map(work, range(4)), "opcode", WorkerPool.map.__code__.__eq__):
        assert working == [0, 0], f"opcode {number}"
        number += 1
    done: list[int] = []
    pool.map(lambda _worker, row: done.append(row), range(8))
    assert sorted(done) == list(range(8))
    assert number > 50
    pool.close()


@pytest.mark.usefixtures("alarms_interrupt")
def test_a_second_interrupt_waits_for_the_workers_too() -> None:
    pool = WorkerPool(2)
    ended = []

    def interrupt_and_work(_worker: int, row: int) -> None:
        if row == 0:
            for _ in range(3):
                signal.pthread_kill(main_thread(), signal.SIGALRM)
                time.sleep(0.02)
            ended.append(row)

    with pytest.raises(KeyboardInterrupt):
        pool.map(interrupt_and_work, range(2), own_thread=True)
    assert ended == [0]
    pool.close()


@pytest.mark.usefixtures("alarms_interrupt")
def test_what_nobody_has_begun_is_left_out() -> None:
    pool = WorkerPool(1)
    begun = []

    def work(_worker: int, row: int) -> None:
        begun.append(row)
        if row % 10 == 0:  # one that comes just before the caller begins to wait is only seen at the end of the wait
            signal.pthread_kill(main_thread(), signal.SIGALRM)
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        pool.map(work, range(1000), own_thread=True)
    assert len(begun) < 1000
    pool.close()


@pytest.mark.parametrize("every", [53, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["reset", "step"])
@pytest.mark.parametrize("case", [0, 1], ids=["threads", "SameStep"])
def test_reset_plays_the_same_episodes_whichever_line_was_interrupted(case: int, name: str, every: int) -> None:
    """Lines of ours, so many apart; a step without reset goes on, or says what to do."""
    envs = gym.make_vec(ENV_ID, assets="primitive", **CASES[case])
    expected = play(envs)
    action = np.full((envs.num_envs, 7), 0.3)
    call = {"reset": lambda: envs.reset(seed=1), "step": lambda: envs.step(action)}[name]
    said = set()
    number = 0
    while raises_at(number, call, "line", is_ours):
        try:
            envs.step(action)
        except ConfigError as error:
            said.add(str(error).partition("; ")[2])
        assert all(map(np.array_equal, play(envs), expected)), f"line {number}"
        number += every
    assert number > 2 * every
    assert said == {"call reset() first."}
    envs.close()


@pytest.mark.parametrize("line", [*range(10, 3000, 300), 10**9])
def test_an_environment_interrupted_while_it_opens_opens_again(line: int) -> None:
    """A single one: scene, reward, simulator and the first drawn state, wherever that was cut short."""

    def episode(env: gym.Env) -> list[np.ndarray]:
        return [env.reset(seed=0)[0]["proprio"], *(env.step(np.full(7, 0.3))[0]["proprio"] for _ in range(2))]

    env, whole = (gym.make(ENV_ID, assets="primitive", cameras=()) for _ in range(2))
    assert raises_at(line, lambda: env.reset(seed=1), "line", is_ours) == (line < 10**9)
    assert all(map(np.array_equal, episode(env), episode(whole)))
    env.close()
    whole.close()


def test_a_closed_environment_is_reset_before_it_steps() -> None:
    """Also where `close` itself was interrupted; stepping what `close` left would begin at zeros."""
    envs = gym.make_vec(ENV_ID, assets="primitive", **CASES[0])
    expected = play(envs)
    assert raises_at(3, envs.unwrapped.close_extras, "line", is_ours)
    envs.unwrapped.close_extras()
    with pytest.raises(ConfigError, match=r"call reset\(\) first"):
        envs.step(np.zeros((2, 7)))
    assert all(map(np.array_equal, play(envs), expected))
    envs.close()


@pytest.mark.usefixtures("alarms_interrupt")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops those in destructors
@pytest.mark.parametrize("settings", CASES, ids=["state", "SameStep", "pictures", "tasks"])
@pytest.mark.parametrize("count", [4, pytest.param(250, marks=pytest.mark.slow)])
def test_interrupts_at_random_moments(count: int, settings: dict[str, object]) -> None:
    struck = hammer(count, settings, np.random.default_rng(0))
    assert sum(struck[name] for name in ("reset", "step", "render", "close")) >= count
