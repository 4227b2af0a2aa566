"""Do what `python -m tgrpo_envs evaluate` was asked for: play what is missing, film failures, count."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from itertools import product
from typing import Any

from tqdm import tqdm

from tgrpo_envs.arrays import check_timeout, whole_number
from tgrpo_envs.assets import find_pack
from tgrpo_envs.batch.task_batch import TaskBatch
from tgrpo_envs.bridges.policy import OutsidePolicy
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.evaluate.film import film, is_filmed
from tgrpo_envs.evaluate.options import EvaluateOptions
from tgrpo_envs.evaluate.play import Finished, play_states
from tgrpo_envs.evaluate.policies import open_policy
from tgrpo_envs.evaluate.record import EpisodeRecord, EvaluationFolder, EvaluationRecord, Settings
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.perturbation import KINDS, MAX_LEVEL, Perturbation
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.tasks import CUSTOM, Task, choose_task, get_task, list_tasks
from tgrpo_envs.text_table import aligned

MAX_REPLAN_STEPS = 64  # what one environment step may have
LIMITS = {
    "num_envs": (1, 4096),
    "num_states": (1, None),
    "videos": (0, None),
    "perturb_level": (1, MAX_LEVEL),
    "perturb_seed": (0, None),
    "perturb_variants": (1, None),
    "replan_steps": (1, MAX_REPLAN_STEPS),
    "image_size": (1, None),  # environments know the upper limits of these two
    "horizon": (1, None),
}


def run_evaluation(options: EvaluateOptions) -> str:
    """Play, and return the table; the folder `options.out` has every episode that is over at any time.

    Raises:
        PolicyError: The policy failed; the message says how many episodes are kept, if any.
        ConfigError: EvaluateOptions that do not go together, or a folder that holds another evaluation.
    """
    _check(options)
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
            if not folder.episodes:
                raise
            raise PolicyError(
                f"{error} {len(folder.episodes)} finished episodes are kept in {options.out}; go on with --resume."
            ) from error
        finally:
            folder.leave_if_empty()
    return table(folder.finish(), chosen_tasks(options)) + _unfilmed(folder, options.videos)


def _check(options: EvaluateOptions) -> None:
    for name, (low, high) in LIMITS.items():
        if (value := getattr(options, name)) is not None:
            whole_number(_option(name), value, low, high)
    if not options.perturb and (said := _said_of_perturbations(options)):
        raise ConfigError(f"{_option(next(iter(said)))} says which change of a kind; name it with --perturb KIND.")
    check_timeout("--timeout-s", options.timeout_s)


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _settings(options: EvaluateOptions, policy: OutsidePolicy) -> Settings:
    tasks = chosen_tasks(options)
    detail = options.detail or ("fast" if policy.detail == "fast" else "exact")
    env = EnvSettings(
        tasks[0].suite,
        task=tasks[0].index,
        bddl=options.bddl,
        assets=options.assets,
        detail=detail,
        image_size=policy.image_size,
        action_chunk=policy.replan_steps,
        horizon=options.horizon,
    )
    states = options.states or ("official" if options.bddl is None else "heldout")
    sets = ("official", "heldout") if states == "both" else (states,)
    batch = TaskBatch(env, 1)
    with closing(batch):
        size = min(len(batch.fixed_states(name)) for name in sets)
    if options.num_states > size:
        raise ConfigError(f"--num-states {options.num_states} is more than the {size} states of a set; give fewer.")
    pack = find_pack(options.assets)
    return Settings(
        policy=options.policy,
        suite=tasks[0].suite,
        tasks=tuple(task.index for task in tasks),
        states=sets,
        num_states=options.num_states,
        assets=pack.name,
        assets_digest=pack.digest,
        detail=detail,
        image_size=policy.image_size,
        replan_steps=policy.replan_steps,
        horizon=env.episode_horizon,
        versions={"python": platform.python_version()} | {name: version(name) for name in ("tgrpo", "mujoco", "numpy")},
        bddl=_own_file(options),
        perturb=KINDS if "all" in options.perturb else tuple(kind for kind in KINDS if kind in options.perturb),
        unnorm_key=options.unnorm_key,
        **_said_of_perturbations(options),
    )


def _said_of_perturbations(options: EvaluateOptions) -> dict[str, Any]:
    """What was said of every kind of perturbation, by its setting."""
    names = ("perturb_level", "perturb_seed", "perturb_variants")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _own_file(options: EvaluateOptions) -> str:
    """Name and digest of the task file of the user's own as it is now; empty without."""
    if options.bddl is None:
        return ""
    (task,) = chosen_tasks(options)
    return f"{options.bddl.name} {sha256(task.bddl.encode()).hexdigest()[:16]}"


def chosen_tasks(options: EvaluateOptions) -> tuple[Task, ...]:
    """The tasks by index, by name, or ``all``, each once; or that of a file.

    Raises:
        UnknownNameError: No such suite or task.
        BddlError: The file is wrong.
        ConfigError: No task, or a file beside a suite or tasks of LIBERO's.
    """
    if options.bddl is not None:
        if options.tasks not in (("all",), ("0",)):
            raise ConfigError(f"--bddl {options.bddl} is one task of your own; leave --tasks out.")
        return (choose_task(options.suite or CUSTOM, bddl=options.bddl),)
    suite = options.suite or "libero_object"
    if "all" in options.tasks:
        return list_tasks(suite)
    if not options.tasks:
        raise ConfigError("--tasks names no task; give indices or names, or all.")
    chosen = (get_task(suite, int(one) if one.isdecimal() else one) for one in options.tasks)
    return tuple(dict.fromkeys(chosen))


def _play_missing(policy: OutsidePolicy, folder: EvaluationFolder, options: EvaluateOptions) -> None:
    settings = folder.settings
    there = {one.key for one in folder.episodes}
    missing: dict[tuple[int, int, str, Perturbation | None], list[int]] = {}
    for part, (task, states, kind) in enumerate(product(settings.tasks, settings.states, settings.kinds)):
        first = part * settings.num_states
        for row in range(settings.num_states):
            if (task, states, row, kind) not in there:
                missing.setdefault((first, task, states, settings.perturbation(kind, row)), []).append(row)
    with tqdm(total=sum(map(len, missing.values())), desc="Evaluating", unit="episode", disable=None) as bar:
        for (first, task, states, perturb), rows in missing.items():
            if _own_file(options) != settings.bddl:
                raise ConfigError(
                    f"{options.bddl} is not what it was when {folder.path} was begun; put it back and go on with "
                    "--resume, or give another --out."
                )
            env = {
                "suite": settings.suite,
                "task": task,
                "bddl": options.bddl,
                "assets": options.assets,
                "detail": settings.detail,
                "horizon": settings.horizon,
                "perturb": perturb,
            }
            play_states(
                policy,
                env,
                states,
                rows,
                num_envs=options.num_envs,
                first_number=first,
                finished=partial(_keep, folder, options, bar),
            )


def _keep(folder: EvaluationFolder, options: EvaluateOptions, bar: tqdm[None], finished: Finished) -> None:
    record = finished.record
    folder.add(record)
    bar.update()
    alike = [one for one in _failures(folder) if (one.task, one.kind) == (record.task, record.kind)]
    videos = folder.path / "videos"
    if not record.success and sum(is_filmed(one, videos) for one in alike) < options.videos:
        film(finished, videos)


def _failures(folder: EvaluationFolder) -> list[EpisodeRecord]:
    return [one for one in folder.episodes if not one.success]


def _unfilmed(folder: EvaluationFolder, num_videos: int) -> str:
    """What to say of failures that an earlier call has played and not filmed: it kept no actions; else nothing."""
    failures: dict[tuple[int, str | None], list[bool]] = {}
    for one in _failures(folder):
        failures.setdefault((one.task, one.kind), []).append(is_filmed(one, folder.path / "videos"))
    missing = sum(max(0, min(num_videos, len(each)) - sum(each)) for each in failures.values())
    if not missing:
        return ""
    return (
        f"\n{missing} of the videos are missing: an earlier call played these failures without them, and actions are "
        "not kept. Evaluate into another --out to film them."
    )


def table(record: EvaluationRecord, tasks: Sequence[Task]) -> str:
    """One row for each task and set, then the pooled rows, those of perturbations, and what they are comparable with.

    Args:
        record: What was found.
        tasks: The record's tasks.
    """
    rows = [("task", "states", "k/n = rate [95 % Wilson]", "instruction")]
    suite, sentences = record.settings.suite, {task.index: task.instruction for task in tasks}
    rows += [
        (f"{suite} {one.task}", one.states, str(one), sentences[one.task])
        for one in record.counts
        if one.task is not None and one.perturb is None
    ]
    if len(tasks) > 1:
        plain = (one for one in record.pooled if one.perturb is None)
        rows += [("all tasks", one.states, str(one), "every episode weighs the same") for one in plain]
    parts = [aligned(rows), record.note]
    if record.settings.perturb:
        parts.insert(1, _table_of_kinds(record))
    return "\n\n".join(parts)


def _table_of_kinds(record: EvaluationRecord) -> str:
    """A row for each kind of perturbation and set, over all tasks, beside the task as it is."""
    level = record.settings.perturb_level
    rows = [("perturbation", "states", "k/n = rate [95 % Wilson]", "points to none")]
    plain = {one.states: one.num_successes / one.num_episodes for one in record.pooled if one.perturb is None}
    for one in record.pooled:
        points = 100 * (one.num_successes / one.num_episodes - plain[one.states])
        name = "none" if one.perturb is None else f"{one.perturb}, level {level}"
        rows.append((name, one.states, str(one), "" if one.perturb is None else f"{points:+.1f}"))
    return aligned(rows)
