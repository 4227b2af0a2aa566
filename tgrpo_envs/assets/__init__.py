"""Where a scene's shapes come from: LIBERO's asset pack where it is on this machine, else one authored here.

`find_pack()` is the way in. `describe_packs()` and `download_pack()` serve `python -m tgrpo_envs assets`.
"""

from tgrpo_envs.assets.download import download_pack
from tgrpo_envs.assets.locate import PACK_NAMES, PackInfo, describe_packs, find_pack
from tgrpo_envs.assets.pack import AssetPack
from tgrpo_envs.files import cache_dir

__all__ = ["PACK_NAMES", "AssetPack", "PackInfo", "cache_dir", "describe_packs", "download_pack", "find_pack"]
