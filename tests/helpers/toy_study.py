"""A study on the toy task: `-m tests.helpers.toy_study grid FOLDER JOBS` does it; else our command line.

With a folder in TOY_WAITS, the second iteration of one run (WAITING_RUN) says by a file `waits` there that it has
begun, and waits for a file `go_on`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import tgrpo_trainer.train
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.command import run_command
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.studies.command import do_study
from tgrpo_trainer.studies.grid import Method, Study, StudyTask, with_settings

PROGRAM = ("-m", "tests.helpers.toy_study")
WAITING_RUN = Path("reach", "grpo", "seed_0")


def toy_study() -> Study:
    """One task, two methods, two seeds; runs of three iterations."""
    base = with_settings(
        toy_config(Path("base"), 3), {"update": {"num_iterations": 1}, "evaluation": {"every": 2, "num_heldout": 6}}
    )
    return Study(
        name="toy",
        question="Does it reach the middle?",
        base=base,
        tasks=(StudyTask(name="reach", overrides={"env": {"tasks": (0,)}}),),
        methods=(Method(name="tgrpo"), Method(name="grpo", overrides={"objective": {"kind": "grpo"}})),
        seeds=(0, 1),
        comparisons=(("tgrpo", "grpo"),),
    )


def wait_in_the_second_iteration(waits: Path) -> None:
    run_iteration = tgrpo_trainer.train.run_iteration  # type: ignore[attr-defined]

    def waiting(config: TrainConfig, envs: Any, student: Any, updater: Any, done: int, world: Any) -> Any:
        if done == 1 and config.run.path.match(str(WAITING_RUN)) and not (waits / "go_on").exists():
            (waits / "waits").touch()
            while not (waits / "go_on").exists():
                time.sleep(0.01)
        return run_iteration(config, envs, student, updater, done, world)

    tgrpo_trainer.train.run_iteration = waiting  # type: ignore[attr-defined, assignment]


if __name__ == "__main__":
    tgrpo_trainer.train.make_envs = make_toy_envs  # type: ignore[attr-defined, assignment]
    if "TOY_WAITS" in os.environ:
        wait_in_the_second_iteration(Path(os.environ["TOY_WAITS"]))
    if sys.argv[1] == "grid":
        folder, jobs = Path(sys.argv[2]), int(sys.argv[3])
        sys.exit(run_command(lambda: do_study(toy_study(), folder, jobs, program=PROGRAM)))
    sys.exit(main(sys.argv[1:]))
