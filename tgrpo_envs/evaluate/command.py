"""Do what `python -m tgrpo_envs evaluate` was asked for: play what is missing, film failures, count."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version

from tqdm import tqdm

from tgrpo_envs.arrays import whole_number
from tgrpo_envs.assets import find_pack
from tgrpo_envs.batch.task_batch import TaskBatch
from tgrpo_envs.bridges.policy import OutsidePolicy
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.evaluate.film import film
from tgrpo_envs.evaluate.options import EvaluateOptions
from tgrpo_envs.evaluate.play import Finished, play_states
from tgrpo_envs.evaluate.policies import open_policy
from tgrpo_envs.evaluate.record import EvaluationFolder, EvaluationRecord, Settings
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.tasks import get_task, list_tasks
from tgrpo_envs.text_table import aligned

MAX_ENVS = 4096


def run_evaluation(options: EvaluateOptions) -> str:
    """Play, and return the table; the folder `options.out` has every episode that is over at any time.

    Raises:
        PolicyError: The policy failed; the message says how many episodes are kept.
        ConfigError: EvaluateOptions that do not go together, or a folder that holds another evaluation.
    """
    whole_number("--num-envs", options.num_envs, 1, MAX_ENVS)
    whole_number("--num-states", options.num_states, 1)
    whole_number("--videos", options.videos, 0)
    if not options.timeout_s > 0:
        raise ConfigError(f"--timeout-s is {options.timeout_s}; give seconds above 0.")
    if options.videos:
        with needs_extra("video"):
            import tgrpo_envs.recording.video  # noqa: F401 - before hours of episodes rather than after
    policy = open_policy(
        options.policy,
        timeout_s=options.timeout_s,
        api_key=options.api_key,
        unnorm_key=options.unnorm_key,
        image_size=options.image_size,
        replan_steps=options.replan_steps,
    )
    with closing(policy):
        settings = _settings(options, policy)
        folder = EvaluationFolder(options.out, settings, resume=options.resume)
        try:
            _play_missing(policy, folder, options)
        except PolicyError as error:
            raise PolicyError(
                f"{error} {len(folder.episodes)} finished episodes are kept in {options.out}; go on with --resume."
            ) from error
    return table(folder.finish())


def _settings(options: EvaluateOptions, policy: OutsidePolicy) -> Settings:
    tasks = task_indices(options.suite, options.tasks)
    detail = options.detail or ("fast" if policy.detail == "fast" else "exact")
    env = EnvSettings(
        options.suite,
        task=tasks[0],
        assets=options.assets,
        detail=detail,
        image_size=policy.image_size,
        action_chunk=policy.replan_steps,
        horizon=options.horizon,
    )
    sets = ("official", "heldout") if options.states == "both" else (options.states,)
    batch = TaskBatch(env, 1)
    with closing(batch):
        size = min(len(batch.fixed_states(name)) for name in sets)
    if options.num_states > size:
        raise ConfigError(f"--num-states {options.num_states} is more than the {size} states of a set; give fewer.")
    return Settings(
        policy=options.policy,
        suite=options.suite,
        tasks=tasks,
        states=sets,
        num_states=options.num_states,
        assets=find_pack(options.assets).name,
        detail=detail,
        image_size=policy.image_size,
        replan_steps=policy.replan_steps,
        horizon=env.episode_horizon,
        versions={"python": platform.python_version()} | {name: version(name) for name in ("tgrpo", "mujoco", "numpy")},
    )


def task_indices(suite: str, chosen: Sequence[str]) -> tuple[int, ...]:
    """Indices of the chosen tasks (indices, names, or ``all``), each once.

    Raises:
        UnknownNameError: No such suite or task.
    """
    if "all" in chosen:
        return tuple(task.index for task in list_tasks(suite))
    return tuple(dict.fromkeys(get_task(suite, int(one) if one.isdigit() else one).index for one in chosen))


def _play_missing(policy: OutsidePolicy, folder: EvaluationFolder, options: EvaluateOptions) -> None:
    settings = folder.settings
    there = {one.key for one in folder.episodes}
    missing = {
        (task, states): [row for row in range(settings.num_states) if (task, states, row) not in there]
        for task in settings.tasks
        for states in settings.states
    }
    number = 0
    with tqdm(total=sum(map(len, missing.values())), desc="Evaluating", unit="episode", disable=None) as bar:
        for (task, states), rows in missing.items():
            if rows:
                env = {
                    "suite": settings.suite,
                    "task": task,
                    "assets": options.assets,
                    "detail": settings.detail,
                    "horizon": settings.horizon,
                }
                play_states(
                    policy,
                    env,
                    states,
                    rows,
                    num_envs=options.num_envs,
                    first_number=number,
                    finished=partial(_keep, folder, options, bar),
                )
            number += len(rows)


def _keep(folder: EvaluationFolder, options: EvaluateOptions, bar: tqdm[None], finished: Finished) -> None:
    record = finished.record
    folder.add(record)
    bar.update()
    failures = sum(not one.success and one.task == record.task for one in folder.episodes)
    if not record.success and failures <= options.videos:
        film(finished, folder.path / "videos", options.assets)


def table(record: EvaluationRecord) -> str:
    """One row for each task and set, then the pooled rows, then what they may be compared with."""
    rows = [("task", "states", "k/n = rate [95 % Wilson]", "instruction")]
    suite = record.settings.suite
    for one in record.counts:
        assert one.task is not None
        rows.append((f"{suite} {one.task}", one.states, str(one), get_task(suite, one.task).instruction))
    if len(record.settings.tasks) > 1:
        rows += [("all tasks", one.states, str(one), "every episode weighs the same") for one in record.pooled]
    return f"{aligned(rows)}\n\n{record.note}"
