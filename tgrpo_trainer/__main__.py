"""The command line: `python -m tgrpo_trainer [COMMAND]`; no arguments train the quickstart recipe."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import tyro

from tgrpo_envs.command import Interrupted, in_a_clone, run_command
from tgrpo_envs.errors import ConfigError, TgrpoError, UnknownNameError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.files import naming, output
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.options import EvalOptions
from tgrpo_trainer.objectives import OBJECTIVES, with_kind
from tgrpo_trainer.recipes import RECIPES, get_recipe
from tgrpo_trainer.run.layout import LAST_NAME
from tgrpo_trainer.run.resume import only_writer, refuse_changes, refuse_taken, settings_of_run
from tgrpo_trainer.run.signals import Signals
from tgrpo_trainer.studies.catalogue import get_study
from tgrpo_trainer.studies.options import StudyOptions, study_help

if TYPE_CHECKING:
    from tgrpo_trainer.distributed.world import World

PROG = "python -m tgrpo_trainer"
ONE_TASK = re.compile(r"^--env\.task(?=$|=)")
"""The option's name where a run has one task; `--env.tasks` takes several."""
EVALUATION_TIMEOUT_MINUTES = 120.0
"""How long a rank waits for the others' episodes of one task."""

# Commands import torch and the environments only when they run, so that help and mistakes are answered at once.


def train_command(arguments: Sequence[str]) -> str | None:
    """Clone demonstrations, improve the policy by group-relative reinforcement learning, and write report.html."""
    config = parse_run("train", arguments)
    from tgrpo_trainer.train import train

    with _interruptible(config.run.path) as signals, _ranks_of(config) as world, _run_folder(config):
        report = train(config, world, signals)
        return f"Report: {report}" if world.is_main else None


def sft_command(arguments: Sequence[str]) -> str | None:
    """Only clone demonstrations; `train --resume` goes on from there."""
    config = parse_run("sft", arguments)
    from tgrpo_trainer.train import clone

    with _interruptible(config.run.path), _ranks_of(config) as world, _run_folder(config):
        checkpoint = clone(config, world)
        if not world.is_main:
            return None
        return f"Cloned policy: {checkpoint}\nGo on with: {PROG} train --resume {config.run.path}"


def eval_command(arguments: Sequence[str]) -> str | None:
    """Evaluate a policy on any tasks: successes with intervals, a record, videos of failures."""
    options = tyro.cli(EvalOptions, args=arguments, prog=f"{PROG} eval")
    from tgrpo_trainer.evaluation.command import run_evaluation
    from tgrpo_trainer.evaluation.evaluate import EpisodeSplit
    from tgrpo_trainer.evaluation.record import RECORD_NAME
    from tgrpo_trainer.evaluation.table import table

    with _ranks(options.device or "auto", EVALUATION_TIMEOUT_MINUTES) as world:
        if world.size > 1:  # each rank its own device; one process alone takes the run's
            options = replace(options, device=str(world.device))
        with world.together(), output(options.out if world.is_main else None, "--out", is_folder=True):
            file = run_evaluation(options, EpisodeSplit(world.rank, world.size, world.gather))
    if not world.is_main:
        return None
    lines = [table(file)]
    lines += [f"Failure: {options.out}/{video.path}\n  {video.shows}" for video in file.videos]
    if options.out is not None:
        lines.append(f"Record: {options.out / RECORD_NAME}")
    return "\n".join(lines)


@dataclass(frozen=True)
class ReportOptions:
    """Write a page from the files in the folders of runs, also while they go on: of one run, or comparing several."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, for example runs/quickstart."""
    out: Path | None = None
    """The page that compares several; None = compare.html beside the first run's folder."""


def report_command(arguments: Sequence[str]) -> str:
    """Write report.html of a run, or compare.html of several."""
    options = tyro.cli(ReportOptions, args=arguments, prog=f"{PROG} report")
    if not options.runs:
        raise ConfigError("No run was given; name one folder for its report, or several to compare them.")
    if len(options.runs) == 1 and options.out is not None:
        raise ConfigError("--out is for a comparison of several runs; a run's own report lies in its folder.")
    from tgrpo_trainer.report import write_comparison, write_report

    with output(options.out, "--out"), naming(options.runs[0], "RUNS"):
        page = write_report(*options.runs) if len(options.runs) == 1 else write_comparison(options.runs, options.out)
    return f"Report: {page}"


@dataclass(frozen=True)
class BenchOptions:
    """Measure an OpenVLA on this machine: decisions, updates, and what share of the machine's limits they reach."""

    checkpoint: Path | None = None
    """A published checkpoint; None = random weights of a size."""
    size: str | None = None
    """Random weights of this size, 7b or tiny; None = 7b on a GPU, else tiny."""
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Rows decided together."""
    device: str = "auto"
    """Torch device: auto, cpu, cuda, cuda:0 ..."""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Type of the weights; None = bfloat16 on a GPU, else float32."""
    decoding: Literal["autoregressive", "parallel"] = "autoregressive"
    """One token after another (OpenVLA), or a chunk of eight control steps at once (OFT's token head)."""
    compile: bool = False
    """Compile the step of autoregressive decoding."""
    num_decisions: int = 64
    """Decisions of an update's gradient step."""
    microbatch_size: int = 8
    """Decisions of an update in memory at once."""
    parts: tuple[Literal["decisions", "iteration", "updates"], ...] = ("decisions", "updates")
    """What to measure; an iteration needs environments (a scene in the cache is enough)."""
    assets: str = "auto"
    """Asset pack of that iteration."""
    out: Path | None = None
    """Write the numbers as JSON here; None = only print them."""


def bench_command(arguments: Sequence[str]) -> str:
    """Measure decisions and updates of an OpenVLA, beside a plain loop and the roofline."""
    options = tyro.cli(BenchOptions, args=arguments, prog=f"{PROG} bench")
    with in_a_clone():
        from benchmarks.trainer.run import run_bench

    with output(options.out, "--out"):
        return run_bench(options)


def export_command(arguments: Sequence[str]) -> str:
    """Write a checkpoint's policy in its published format, LoRA adapters merged, and upload it if asked to."""
    from tgrpo_trainer.export import ExportOptions, export

    return export(tyro.cli(ExportOptions, args=arguments, prog=f"{PROG} export"))


def serve_command(arguments: Sequence[str]) -> None:
    """Serve a policy in openpi's protocol, to other programs or to `tgrpo_envs evaluate`."""
    from tgrpo_trainer.serve import ServeOptions, serve_policy

    serve_policy(tyro.cli(ServeOptions, args=arguments, prog=f"{PROG} serve"))


@dataclass(frozen=True)
class MemoryOptions:
    """Print how many decisions fit on a GPU at once: by arithmetic, for each optimiser, full fine-tuning and LoRA."""

    checkpoint: str | None = None
    """OpenVLA's folder or its name on the hub; None = the published 7B sizes."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the weights."""
    rank: int = 32
    """Rank of the LoRA adapters."""
    num_gpus: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of GPUs that share weights, gradients and optimiser."""


def memory_command(arguments: Sequence[str]) -> str:
    """Print what a training of OpenVLA needs of a GPU's memory, and what fits."""
    options = tyro.cli(MemoryOptions, args=arguments, prog=f"{PROG} memory")
    if min(options.num_gpus, default=0) < 1:
        raise ConfigError(f"--num-gpus is {' '.join(map(str, options.num_gpus)) or 'empty'}; give numbers from 1 on.")
    from tgrpo_trainer.memory.forecast import describe_memory
    from tgrpo_trainer.policy.openvla.footprint import find_architecture, measure_footprint

    measure = partial(measure_footprint, find_architecture(options.checkpoint))
    return describe_memory(measure, options.dtype, options.rank, options.num_gpus)


def study_command(arguments: Sequence[str]) -> str:
    """Do a study: a grid of tasks, methods and seeds, with tables, curves and paired differences."""
    options = tyro.cli(StudyOptions, args=arguments, prog=f"{PROG} study", description=study_help())
    study = get_study(options.study)
    from tgrpo_trainer.studies.command import describe_study, do_study

    folder = options.folder / study.name
    if options.dry:
        return describe_study(study, folder, options.jobs, options.methods, options.tasks)
    with output(folder, "--folder", is_folder=True):
        return do_study(study, folder, options.jobs, options.methods, options.tasks)


def ppo_command(arguments: Sequence[str]) -> str:
    """Learn from the clone in a run's folder by Stable-Baselines3's PPO with a critic, to compare with."""
    config = parse_run("ppo", arguments)
    from tgrpo_trainer.studies.ppo import learn_by_ppo

    with _run_folder(config):
        return f"Evaluations: {learn_by_ppo(config)}"


COMMANDS: dict[str, Callable[[Sequence[str]], str | None]] = {
    "train": train_command,
    "sft": sft_command,
    "ppo": ppo_command,
    "eval": eval_command,
    "serve": serve_command,
    "report": report_command,
    "study": study_command,
    "bench": bench_command,
    "export": export_command,
    "memory": memory_command,
}


def parse_run(command: str, arguments: Sequence[str]) -> TrainConfig:
    """The settings of a new run (recipe and overrides) or of one to go on with (`--resume`).

    Raises:
        UnknownNameError: No such recipe or objective.
        ConfigError: The folder of a new run is taken, or the one to resume holds no run or one of other settings.
    """
    first = argparse.ArgumentParser(f"{PROG} {command}", add_help=False, allow_abbrev=False)
    first.add_argument("--recipe")
    first.add_argument("--resume", type=Path)
    first.add_argument("--objective.kind", dest="kind")
    chosen, overrides = first.parse_known_args(arguments)
    if old := [option for option in overrides if option.startswith("--tgrpo.")]:
        raise ConfigError(f"{old[0]} is of version 0.2; use --objective. options (CHANGELOG.md says where each went).")
    overrides = [ONE_TASK.sub("--env.tasks", given) for given in overrides]
    if chosen.recipe is not None and chosen.resume is not None:
        raise ConfigError("--recipe starts a run and --resume goes on with one; give only one of them.")
    default = settings_of_run(chosen.resume) if chosen.resume is not None else get_recipe(chosen.recipe or "quickstart")
    if chosen.kind is not None:
        default = default.replace(objective=with_kind(default.objective, chosen.kind))
    config = tyro.cli(
        TrainConfig, default=default, args=overrides, prog=f"{PROG} {command}", description=_run_description(command)
    )
    if chosen.resume is not None:
        refuse_changes(default, config)
    elif not _rank():  # of several ranks the first looks, before it makes the folder itself
        refuse_taken(config, f"{PROG} {command}")
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; see `tgrpo_envs.command.run_command` for how it ends.

    Args:
        arguments: The command line without the program's name; None takes the process's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)

    def run() -> str | None:
        if given and given[0] in ("-h", "--help"):
            return _overview()
        command = given.pop(0) if given and not given[0].startswith("-") else "train"
        if command not in COMMANDS:
            raise UnknownNameError("command", command, COMMANDS)
        with needs_extra("train"):
            return COMMANDS[command](given)

    rank = _rank()
    code = run_command(run, where="" if rank is None else f" on rank {rank}", speaks=not rank)
    if rank is not None and code > 2:
        _leave_at_once(code)  # what torch would wait for on the way out, other ranks no longer do
    return code


@contextmanager
def _interruptible(folder: Path) -> Iterator[Signals]:
    """On Ctrl-C or SIGTERM finish the iteration, save and leave, on a second one leave at once; say how to go on."""
    from tgrpo_trainer.run.checkpoint import latest_checkpoint

    signals = Signals(announce=not _rank())
    try:
        with signals.install():
            yield signals
    except Interrupted as interrupted:
        if not _rank():
            last = latest_checkpoint(folder / LAST_NAME)
            state = (
                "no iteration has finished" if last is None else f"finished and on disk: {last.name.replace('_', ' ')}"
            )
            sys.stderr.write(f"\nInterrupted; {state}. Go on with: {PROG} train --resume {folder}\n")
        if _rank() is not None:
            _leave_at_once(interrupted.exit_code)
        raise SystemExit(interrupted.exit_code) from None


@contextmanager
def _run_folder(config: TrainConfig) -> Iterator[None]:
    """Errors about what is written into the run's folder name the setting; the first rank tries and locks it before."""
    if _rank():
        with naming(config.run.path, "--run.folder"):
            yield
        return
    with output(config.run.path, "--run.folder", is_folder=True), only_writer(config.run.path):
        yield


@contextmanager
def _ranks(device: str, timeout_minutes: float) -> Iterator[World]:
    """Join the other ranks of the run, if a launcher started several, and part from them at the end.

    A rank that fails leaves without tidying up: what torch would wait for on the way out, other ranks no longer do.
    """
    from tgrpo_trainer.distributed.world import init_world, leave_world, translated_loss

    world = init_world(device, timeout_minutes=timeout_minutes)
    if world.size == 1:
        yield world
        return
    try:
        with translated_loss():
            yield world
            leave_world(world)
    except TgrpoError as error:
        sys.stderr.write(f"error on rank {world.rank}: {error}\n")
        _leave_at_once(2)
    except Exception:  # noqa: BLE001 - a bug: its traceback, then the same way out
        traceback.print_exc()
        _leave_at_once(1)


def _ranks_of(config: TrainConfig) -> AbstractContextManager[World]:
    return _ranks(config.run.device, config.run.rank_timeout_minutes)


def _leave_at_once(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _rank() -> int | None:
    """This process's rank among several, as their launcher says; None of one alone, whatever RANK is left from."""
    size, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return int(rank) if size.isdecimal() and int(size) > 1 and rank.isdecimal() else None


def _run_description(command: str) -> str:
    return (
        f"{(COMMANDS[command].__doc__ or '').strip()}\n\n--recipe NAME starts from a named recipe "
        f"({', '.join(RECIPES)}; default quickstart). --resume FOLDER goes on with an interrupted run. "
        f"--objective.kind NAME changes the objective ({', '.join(OBJECTIVES)}) and keeps the settings that both have; "
        "its own options are then listed below.\n\n"
        "The options below override single settings; their defaults are the recipe's, or the resumed run's."
    )


def _overview() -> str:
    commands = "\n".join(f"  {name:<8} {(command.__doc__ or '').strip()}" for name, command in COMMANDS.items())
    recipes = "\n".join(f"  {name:<20} {(recipe.__doc__ or '').strip()}" for name, recipe in RECIPES.items())
    return (
        f"usage: {PROG} [command] [options]\n\n"
        "Fine-tunes policies on LIBERO by TGRPO and other group-relative objectives. Without arguments: train with the "
        "quickstart recipe.\n\n"
        f"commands:\n{commands}\n\nrecipes (--recipe NAME):\n{recipes}\n\n"
        f"All options of a command: {PROG} train --help"
    )


if __name__ == "__main__":
    sys.exit(main())
