"""Frames as a video: a file, or an address inside a page."""

from __future__ import annotations

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.extras import needs_extra

with needs_extra("video"):
    import imageio_ffmpeg
    from PIL import Image

HEIGHT_PX = 256
"""Frames smaller than this are enlarged to about this height."""


@dataclass(frozen=True)
class Video:
    """An encoded video."""

    content: bytes
    suffix: str
    """.mp4, or .webp where ffmpeg could not be started."""

    @property
    def data_url(self) -> str:
        """An address that holds the video itself, for a page."""
        kind = "video/mp4" if self.suffix == ".mp4" else "image/webp"
        return f"data:{kind};base64,{base64.b64encode(self.content).decode()}"


def encode(frames_FHWC: NDArray[np.uint8], fps: float) -> Video:
    """Encode RGB frames: H.264 where ffmpeg can be started, else an animated WebP."""
    scale = max(1, round(HEIGHT_PX / frames_FHWC.shape[1]))
    large_FHWC = np.stack([_enlarge(frame, scale) for frame in frames_FHWC])
    try:
        return Video(_mp4(large_FHWC, fps), ".mp4")
    except (RuntimeError, OSError):
        # RuntimeError: imageio-ffmpeg has no binary for this platform. OSError: the system would not start one, for
        # instance for want of memory; a long run must not end over its video.
        return Video(_webp(large_FHWC, fps), ".webp")


def _enlarge(frame_HWC: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Scale up, cropped to even sides as H.264 wants them."""
    height, width = frame_HWC.shape[0] * scale // 2 * 2, frame_HWC.shape[1] * scale // 2 * 2
    return np.asarray(Image.fromarray(frame_HWC).resize((width, height), Image.Resampling.BICUBIC))


def _mp4(frames_FHWC: NDArray[np.uint8], fps: float) -> bytes:
    height, width = frames_FHWC.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollout.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "23", "-movflags", "+faststart"],
        )
        writer.send(None)
        for frame in frames_FHWC:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()


def _webp(frames_FHWC: NDArray[np.uint8], fps: float) -> bytes:
    first, *others = (Image.fromarray(frame) for frame in frames_FHWC)
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=80)
    return buffer.getvalue()
