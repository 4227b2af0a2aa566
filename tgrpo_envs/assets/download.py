"""Downloads LIBERO's asset pack from the Hugging Face hub; the only place in `tgrpo_envs` that uses the network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tgrpo_envs.assets.libero_files import holds_liberos_files
from tgrpo_envs.assets.locate import libero_download_dir, pack_in
from tgrpo_envs.assets.pack import AssetPack, folder_digest
from tgrpo_envs.errors import AssetError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.files import from_home

_REPOSITORY: Final = "lerobot/libero-assets"


def download_pack(folder: Path | None = None) -> AssetPack:
    """Download LIBERO's meshes and textures (about 400 MB) with the hub's own progress bar; resumes where it stopped.

    Args:
        folder: Where to. By default ~/.cache/libero/assets, where hf-libero and `find_pack` look for them; with another
            folder, set TGRPO_LIBERO_ASSETS to it.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        AssetError: The download failed.
    """
    with needs_extra("libero", "Downloading LIBERO's assets"):
        from huggingface_hub import snapshot_download

        # The transport's own base class, which is requests' or httpx's with the version of the hub.
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    target = libero_download_dir() if folder is None else from_home(folder, "--folder").resolve()
    try:
        snapshot_download(repo_id=_REPOSITORY, repo_type="dataset", local_dir=target)
    except (OSError, ValueError, HTTPError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise AssetError(
            f"The download of {_REPOSITORY} to {target} failed: {reason}. Run it again to go on where it stopped, "
            "or copy the assets from another machine and set TGRPO_LIBERO_ASSETS to their folder."
        ) from error
    folder_digest.cache_clear()
    holds_liberos_files.cache_clear()
    return pack_in(target)
