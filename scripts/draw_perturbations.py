"""Draws docs/images/perturbations.webp: one state under every kind of perturbation that is seen, on both asset packs.

python scripts/draw_perturbations.py docs/images/perturbations.webp    # needs LIBERO's meshes
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tgrpo_envs.perturbation import KINDS, Perturbation
from tgrpo_envs.vector import LiberoVectorEnv

TILE_PX = 160
ROWS = (("libero", 2, 0), ("libero", 3, 1), ("primitive", 2, 0), ("primitive", 3, 1))  # pack, level, seed
SUITE, TASK = "libero_goal", 6


def tile(pack: str, perturb: Perturbation | None) -> np.ndarray:
    """The settled first held-out state, seen by the scene camera."""
    env = LiberoVectorEnv(
        SUITE, task=TASK, assets=pack, cameras=("agentview",), detail="exact", image_size=TILE_PX, perturb=perturb
    )
    with closing(env):
        observations, _ = env.reset(options={"init_states": "heldout", "init_state_ids": np.array([0])})
    return observations["agentview"][0]


def main() -> None:
    """Draw them all."""
    kinds = [None, *(kind for kind in KINDS if kind != "wording")]
    sheet = Image.new("RGB", (TILE_PX * len(kinds), TILE_PX * len(ROWS)))
    brush = ImageDraw.Draw(sheet)
    for row, (pack, level, seed) in enumerate(ROWS):
        for column, kind in enumerate(kinds):
            corner = (column * TILE_PX, row * TILE_PX)
            picture = tile(pack, None if kind is None else Perturbation(kind, level, seed))
            sheet.paste(Image.fromarray(picture), corner)
            text = pack if kind is None else f"{kind} {level}"
            brush.rectangle((*corner, corner[0] + 6 * len(text) + 6, corner[1] + 13), fill=(40, 40, 40))
            brush.text((corner[0] + 3, corner[1] + 1), text, fill=(255, 255, 255))
    sheet.save(Path(sys.argv[1]), quality=80)


if __name__ == "__main__":
    main()
