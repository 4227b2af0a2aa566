"""The primitive pack: LIBERO-Object's things authored from boxes, cylinders and ellipsoids; no meshes, no download."""

from tgrpo_envs.assets.primitive.generate import CATEGORIES, generate_pack, render_files

__all__ = ["CATEGORIES", "generate_pack", "render_files"]
