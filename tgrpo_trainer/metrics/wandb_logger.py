"""Optional logging to Weights & Biases; a failure there never stops a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tgrpo_envs.extras import needs_extra
from tgrpo_envs.files import write_atomically
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.run.console import say

ID_NAME = "wandb_id.txt"
"""The id of a run's page, in its folder: a resumed run goes on with the same page."""
INIT_TIMEOUT_S = 30.0
RETRIES = 3  # of a request; a try may take a third of the time above, a wait before the next a sixth
FINISH_TIMEOUT_S = 60.0
"""Longest wait for an upload at the end; what is not uploaded by then stays on disk for `wandb sync`."""


class WandbLog:
    """Sends a run's numbers to wandb, and gives up on wandb, not on the run, when that fails.

    Where wandb cannot be reached or nobody is logged in, the run is logged offline: `wandb sync` uploads it later.
    `WANDB_MODE=offline` asks for that from the start.

    Args:
        folder: The run's folder; wandb's files go there.
        config: The run's settings, `run.wandb_project` among them.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self._run: Any = None
        wandb = import_wandb()
        shared = {
            "project": config.run.wandb_project,
            "name": config.run.name,
            "id": run_id(folder),
            "resume": "allow",
            "dir": str(folder),
            "config": config.model_dump(mode="json"),
        }

        def start(**more: Any) -> Any:
            return wandb.init(**shared, settings=_settings(wandb), **more)

        self._run = self._attempt("starting", start, "logging offline; upload with `wandb sync`")
        if self._run is None:
            # Its service may still be trying, and would refuse the same id.
            self._attempt("stopping", lambda: (wandb.teardown(), True))
            self._run = self._attempt("starting offline", lambda: start(mode="offline"))
        # A resumed run does an interrupted iteration again: with wandb's own step such rows would be dropped.
        self._do("defining its axis", lambda: self._run.define_metric("*", step_metric="iteration"))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Log one row."""
        self._do("logging", lambda: self._run.log({"iteration": iteration, **values}))

    def close(self) -> None:
        """Wait for the upload, not for ever."""
        self._do("finishing", lambda: self._run.finish())
        self._run = None

    def _do(self, what: str, action: Callable[[], Any]) -> None:
        """Act on the run if there is one; a failure is the last that is heard of wandb."""
        if self._run is not None and self._attempt(what, lambda: (action(), True)) is None:
            self._run = None

    @staticmethod
    def _attempt(what: str, action: Callable[[], Any], instead: str = "the run goes on without it") -> Any:
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - whatever a logging service does, hours of training must not end
            first = str(error).strip().partition("\n")[0].strip()[:200]  # some errors say nothing
            said = f"{type(error).__name__}: {first}" if first else type(error).__name__
            say(f"wandb failed at {what} ({said}); {instead}.")
            return None


def _settings(wandb: Any) -> Any:
    """Quiet, and bounded in time: wandb 0.27 waits for its own attempts whatever `init_timeout` says."""
    return wandb.Settings(
        init_timeout=INIT_TIMEOUT_S,
        login_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        x_graphql_retry_max=RETRIES,
        x_graphql_retry_wait_max_seconds=INIT_TIMEOUT_S / 6,
        x_graphql_timeout_seconds=INIT_TIMEOUT_S / 3,
        console="off",
        silent=True,
    )


def start_wandb(folder: Path, config: TrainConfig) -> WandbLog | None:
    """The run's wandb log; None where the settings name no project.

    Raises:
        ConfigError: wandb is asked for and not installed.
    """
    return None if config.run.wandb_project is None else WandbLog(folder, config)


def import_wandb() -> Any:
    """The module, imported only now: it takes a second, and most runs do without.

    Raises:
        MissingExtraError: It is not installed.
    """
    with needs_extra("wandb", "run.wandb_project"):
        import wandb

        if not hasattr(wandb, "init"):  # a folder called wandb in the working directory: an empty package
            raise ModuleNotFoundError(name="wandb")
    return wandb


def run_id(folder: Path) -> str:
    """The id in the run's folder, drawn when first asked for."""
    path = folder / ID_NAME
    if not path.is_file():
        write_atomically(path, f"{secrets.token_hex(8)}\n")
    return path.read_text(encoding="utf-8").strip()
