"""Two plots side by side in one picture, as the documentation shows measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#1f2933", "#e4e7eb"
_WIDTH_IN, _DPI = 9.6, 110


@contextmanager
def two_plots(file: Path, *, height_in: float, width_ratios: tuple[float, float]) -> Iterator[tuple[Axes, Axes]]:
    """Yield the left and the right plot; they are written when the `with` ends well.

    Args:
        file: The picture, whose ending chooses the format.
        height_in: Of the picture, inches.
        width_ratios: Of the plots.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: The ending is of no format that can be written.
        OutputError: The file cannot be written.
    """
    with needs_extra("libero", "A plot"):
        from matplotlib import rc_context
        from matplotlib.backend_bases import FigureCanvasBase
        from matplotlib.figure import Figure
    known = FigureCanvasBase.get_supported_filetypes()
    if file.suffix.lower().removeprefix(".") not in known:
        raise ConfigError(f"{file} has an ending that is none of {', '.join(sorted(known))}; take .png or .svg.")
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=width_ratios)
        yield left, right
        with atomic_file(file) as partial:
            figure.savefig(partial)
