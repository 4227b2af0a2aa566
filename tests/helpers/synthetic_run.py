"""The folder of a run that never happened, for tests of the report: known counts, known curves, drawn pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgrpo_envs.intervals import wilson_interval
from tgrpo_trainer.evaluation.result import EpisodeResult, Evaluation, Mode, StateSet, save_evaluations
from tgrpo_trainer.metrics.metrics import MetricsWriter
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.report.record import LastGroup, RolloutRecord
from tgrpo_trainer.run.layout import CONFIG_NAME, EVALUATIONS_NAME, iteration_name
from tgrpo_trainer.types import EpisodeEnd

STAGE_NAMES = ("approach", "grasp", "lift", "place")
KINDS: tuple[tuple[StateSet, Mode, int], ...] = (
    ("heldout", "greedy", 64),
    ("heldout", "sampled", 64),
    ("official", "greedy", 50),
    ("official", "sampled", 50),
)
COUNTS = {  # iteration -> successes of 64 held-out greedy, 64 held-out sampled, 50 official greedy, 50 official sampled
    0: (39, 32, 48, 40),
    10: (50, 44, 47, 43),
    20: (56, 52, 44, 45),
}


def make_evaluation(iteration: int, states: StateSet, mode: Mode, num_successes: int, num_episodes: int) -> Evaluation:
    episodes = tuple(
        EpisodeResult(
            state=i,
            success=i < num_successes,
            end=EpisodeEnd.SUCCESS if i < num_successes else EpisodeEnd.HORIZON,
            control_steps=90 if i < num_successes else 128,
            total_reward=1.5 if i < num_successes else 0.2,
            num_stages=4 if i < num_successes else i % 4,
        )
        for i in range(num_episodes)
    )
    return Evaluation(
        iteration=iteration,
        states=states,
        mode=mode,
        temperature=1.0,
        seed=0,
        env=quickstart().env,
        instruction="pick up the alphabet soup and place it in the basket",
        horizon=128,
        stage_names=STAGE_NAMES,
        num_successes=num_successes,
        num_episodes=num_episodes,
        interval=wilson_interval(num_successes, num_episodes),
        episodes=episodes,
    )


def make_record(num_decisions: int, done_at: tuple[int, ...], end: EpisodeEnd) -> RolloutRecord:
    time_T = np.arange(num_decisions)
    frames_THWC = np.full((num_decisions, 64, 128, 3), 210, dtype=np.uint8)
    for t in range(num_decisions):
        frames_THWC[t, 20:30, t * 3 : t * 3 + 10] = (200, 60, 40)
    return RolloutRecord(
        frames_THWC=frames_THWC,
        actions_TCA=np.zeros((num_decisions, 4, 7), dtype=np.float32),
        control_steps=4 * num_decisions,
        rewards_T=np.where(np.isin(time_T, done_at), 0.4, 0.0),
        stages_TK=np.stack([time_T >= done for done in done_at], axis=1),
        end=str(end),
    )


def write_synthetic_run(folder: Path, first: tuple[int, int, int, int] = COUNTS[0]) -> None:
    folder.mkdir(parents=True)
    quickstart().save(folder / CONFIG_NAME)
    for iteration, counts in {**COUNTS, 0: first}.items():
        evaluations = [
            make_evaluation(iteration, states, mode, k, num_episodes)
            for (states, mode, num_episodes), k in zip(KINDS, counts, strict=True)
        ]
        save_evaluations(folder / EVALUATIONS_NAME / f"{iteration_name(iteration)}.json", evaluations)
    writer = MetricsWriter(folder, next_iteration=1)
    rng = np.random.default_rng(0)
    for iteration in range(1, 21):
        rate = 0.5 + 0.017 * iteration + 0.08 * rng.standard_normal()
        stages = {f"stage/{name}": min(1.0, rate + 0.12 * (3 - k)) for k, name in enumerate(STAGE_NAMES)}
        writer.write(
            iteration,
            {
                "rollout/success_rate": rate,
                "rollout/return": rate * 1.4,
                "rollout/return_std": 0.4,
                **stages,
                "update/entropy": 0.3 + 0.01 * rng.standard_normal(),
                "update/kl": 0.004 * iteration,
                "update/clip_ratio/high": 0.03,
                "update/grad_norm": 0.5,
                "time/env_s": 6.0,
                "time/policy_s": 0.8,
                "time/update_s": 3.0,
            },
        )
    writer.close()
    best = make_record(22, (5, 9, 12, 21), EpisodeEnd.SUCCESS)
    worst = make_record(32, (8, 99, 99, 99), EpisodeEnd.HORIZON)
    LastGroup(iteration=20, state_seed=0, seconds_per_decision=0.2, best=best, worst=worst).save(folder)
