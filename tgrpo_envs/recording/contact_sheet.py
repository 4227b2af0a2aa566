"""Draws the first picture of every task, which also checks that each one builds, resets and steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tgrpo_envs.errors import AssetError, TgrpoError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.files import atomic_file
from tgrpo_envs.scene import load_scene
from tgrpo_envs.scene.states import official_states
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import Task, list_tasks

with needs_extra("video"):
    from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]

TILE_PX: Final = 128
# The four suites of ten tasks have a row each, LIBERO-90 has nine.
_COLUMNS: Final = 10
_RANDOM_STEPS: Final = 20
_SUFFIXES: Final = (".webp", ".png", ".jpg", ".jpeg")  # Pillow knows others that it can only read
_SHADE_RGB: Final = (40, 40, 40)
_LABEL_RGB: Final = (255, 255, 255)
_LABEL_HEIGHT_PX: Final = 13
_WEBP_QUALITY: Final = 80


@dataclass(frozen=True)
class SheetReport:
    """What came of it; `str` gives the line that is printed.

    Attributes:
        file: The picture.
        tasks: How many tasks were tried.
        failures: Task to reason, for those that did not get through.
    """

    file: Path
    tasks: int
    failures: dict[str, str]

    def __str__(self) -> str:
        """How many tasks went through, and why others did not."""
        done = (
            f"{self.tasks - len(self.failures)}/{self.tasks} tasks built, reset, stepped {_RANDOM_STEPS} times, drawn"
        )
        return "\n".join([f"{done}: {self.file}", *(f"{task}: {why}" for task, why in self.failures.items())])


def draw_sheet(assets: str | Path, file: Path, *, progress: bool = True) -> SheetReport:
    """Draw LIBERO's first initial state of each task, settled, into one labelled picture; then step at random.

    A task that fails leaves a dark tile and a line in the report.

    Args:
        assets: Asset pack; see `tgrpo_envs.assets.find_pack`.
        file: Where to write it; the ending chooses the format.
        progress: Show a progress bar.

    Raises:
        AssetError: Another ending than .webp, .png, .jpg or .jpeg.
    """
    if file.suffix.lower() not in _SUFFIXES:
        raise AssetError(f"{file} has an ending that is none of {', '.join(_SUFFIXES)}; take one of them.")
    tasks = list_tasks()
    rows = -(-len(tasks) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * TILE_PX, rows * TILE_PX), _SHADE_RGB)
    failures: dict[str, str] = {}
    for place, task in enumerate(tqdm(tasks, desc="start states", unit="task", disable=not progress)):
        corner = (place % _COLUMNS * TILE_PX, place // _COLUMNS * TILE_PX)
        try:
            sheet.paste(Image.fromarray(_try_task(task, assets)), corner)
        except TgrpoError as error:
            failures[f"{task.suite} {task.index}"] = str(error)
        _label(sheet, corner, task)
    with atomic_file(file) as partial:
        sheet.save(partial, quality=_WEBP_QUALITY)
    return SheetReport(file, len(tasks), failures)


def _try_task(task: Task, assets: str | Path) -> Picture:
    """The settled first state, seen from the front.

    Raises:
        AssetError: The simulation did not survive random actions.
        TgrpoError: The scene could not be built or drawn.
    """
    scene = load_scene(task, assets)
    everyone = np.ones(1, dtype=bool)
    simulator = Simulator(scene, 1, cameras=("agentview",), image_size=TILE_PX)
    try:
        simulator.reset(official_states(scene).take(np.array([0])), everyone)
        before: Picture = np.zeros((1, TILE_PX, TILE_PX, 3), dtype=np.uint8)
        simulator.render({"agentview": before}, everyone)
        actions_TA = np.random.default_rng(task.index).uniform(-1, 1, (_RANDOM_STEPS, ACTION_SIZE))
        for action_A in actions_TA:
            if simulator.step(action_A[None], everyone).any():
                raise AssetError(f"The physics of {task.name} became unstable under random actions.")
        simulator.render({"agentview": np.zeros_like(before)}, everyone)
    finally:
        simulator.close()
    picture: Picture = before[0]
    return picture


def _label(sheet: Image.Image, corner: tuple[int, int], task: Task) -> None:
    x, y = corner
    text = f"{task.suite.removeprefix('libero_')} {task.index}"
    brush = ImageDraw.Draw(sheet)
    brush.rectangle((x, y, x + 6 * len(text) + 6, y + _LABEL_HEIGHT_PX), fill=_SHADE_RGB)
    brush.text((x + 3, y + 1), text, fill=_LABEL_RGB)
