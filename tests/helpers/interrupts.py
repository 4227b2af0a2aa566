"""Interrupts environments at random moments, as Ctrl-C in a notebook does, and compares what they play afterwards.

python -m tests.helpers.interrupts [COUNT]      # prints how many struck where; fails at the first difference
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from tgrpo_envs.errors import ConfigError

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
STEPS = 3
CASES: tuple[dict[str, Any], ...] = (
    {"num_envs": 2, "num_threads": 2, "cameras": ()},
    {"num_envs": 3, "num_threads": 1, "cameras": (), "autoreset_mode": "SameStep", "horizon": 2},
    {"num_envs": 2, "num_threads": 2, "image_size": 32, "render_mode": "rgb_array"},
    {"num_envs": 4, "num_threads": 2, "cameras": (), "tasks": [0, 1], "horizon": 2},
)


def play(envs: gym.vector.VectorEnv) -> list[np.ndarray]:
    """What is observed and paid in a reset and some steps; half of the members share a state."""
    count = envs.num_envs
    observations, _ = envs.reset(seed=0, options={"group_size": 2 if count % 2 == 0 else 1})
    seen = [*observations.values()]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, count, 7))
    for action in actions:
        observations, rewards, *_ = envs.step(action)
        seen += [*observations.values(), rewards]
    seen.extend(envs.render() or ())
    return [array.copy() for array in seen]


def strike(action: Callable[[], object], after_s: float) -> bool:
    """Call `action` and raise KeyboardInterrupt inside it after some time; whether it struck."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, after_s)
            action()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def hammer(count: int, settings: dict[str, Any], rng: np.random.Generator) -> Counter[str]:
    """Interrupt an environment `count` times, in reset, step, render and close; the same episodes must follow.

    Returns:
        How many interrupts struck each; how often a step without reset went on or was refused in our words.
    """
    envs = gym.make_vec(ENV_ID, assets="primitive", **settings)
    expected = play(envs)
    action = np.full((envs.num_envs, 7), 0.3)
    calls: dict[str, Callable[[], object]] = {
        "reset": lambda: envs.reset(seed=1),
        "step": lambda: envs.step(action),
        "render": envs.render,
        "close": envs.unwrapped.close_extras,
    }
    names = [name for name in calls if name != "render" or settings.get("render_mode")]
    struck: Counter[str] = Counter()
    lasts_s = dict.fromkeys(names, 0.02)
    tries = 0
    while sum(struck[name] for name in names) < count:
        tries += 1
        name = names[tries % len(names)]
        start = time.perf_counter()
        hit = strike(calls[name], rng.uniform(1e-5, 1.2 * lasts_s[name]))
        if not hit:
            lasts_s[name] = min(time.perf_counter() - start, 0.5)
        struck[name] += hit
        if hit and rng.random() < 0.3:
            try:
                envs.step(action)
                struck["then a step went on"] += 1
            except ConfigError as error:
                assert "call reset() first" in str(error)  # noqa: PT017 - a refusal is one of two right answers
                struck["then a step was refused"] += 1
        if hit or name == "close":
            for got, wanted in zip(play(envs), expected, strict=True):
                assert np.array_equal(got, wanted), f"another episode after {struck}"
    envs.close()
    return struck


def main(count: int) -> None:
    """Share the interrupts among all cases and print what they struck."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    total: Counter[str] = Counter()
    for row, settings in enumerate(CASES):
        total += hammer(count // len(CASES), settings, np.random.default_rng(row))
    print(", ".join(f"{name}: {number}" for name, number in total.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
