"""The primitive pack: LIBERO's things and rooms authored from a few plain shapes; no download."""

from tgrpo_envs.assets.primitive.generate import CATEGORIES, generate_pack, render_files

__all__ = ["CATEGORIES", "generate_pack", "render_files"]
