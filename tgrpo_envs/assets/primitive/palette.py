"""The palette: one small picture with every colour of the pack, in which meshes look up theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from tgrpo_envs.assets.primitive.shapes import Colour
from tgrpo_envs.assets.primitive.textures import encode_png

PALETTE_FILE: Final = "textures/palette.png"
# A colour fills a square of this many pixels, whose centre is looked up: no neighbour is ever mixed in.
_SWATCH_PX: Final = 4


class Palette:
    """Colours in a row.

    Args:
        colours: RGB in 0..1; doubles are dropped.
    """

    def __init__(self, colours: Iterable[Colour]) -> None:
        self._columns = {colour: column for column, colour in enumerate(sorted(set(colours)))}

    def place(self, colour: Colour | None) -> tuple[float, float]:
        """Texture coordinates of a colour's centre.

        Raises:
            ValueError: The palette has no such colour.
        """
        if colour not in self._columns:
            raise ValueError(f"{colour} is not in the palette.")
        return (self._columns[colour] + 0.5) / len(self._columns), 0.5

    def png(self) -> bytes:
        """The picture."""
        row_C3 = np.rint(255 * np.asarray(tuple(self._columns))).astype(np.uint8)
        swatches = row_C3.repeat(_SWATCH_PX, axis=0)[None].repeat(_SWATCH_PX, axis=0)
        return encode_png(swatches)
