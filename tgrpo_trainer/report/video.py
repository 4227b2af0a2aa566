"""Frames as a video that sits inside the page."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT_PX = 256
"""Frames smaller than this are enlarged to about this height."""


def video_element(frames_THWC: NDArray[np.uint8], fps: float) -> str:
    """An HTML element that plays the frames: H.264 where ffmpeg is at hand, else an animated WebP."""
    scale = max(1, round(HEIGHT_PX / frames_THWC.shape[1]))
    large_THWC = np.stack([_enlarge(frame, scale) for frame in frames_THWC])
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:  # imageio-ffmpeg's answer to a platform it has no binary for
        data = base64.b64encode(_webp(large_THWC, fps)).decode()
        return f'<img alt="rollout" src="data:image/webp;base64,{data}">'
    data = base64.b64encode(_mp4(large_THWC, fps)).decode()
    return f'<video controls loop muted autoplay playsinline src="data:video/mp4;base64,{data}"></video>'


def _enlarge(frame_HWC: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Scale up, cropped to even sides as H.264 wants them."""
    height, width = frame_HWC.shape[0] * scale // 2 * 2, frame_HWC.shape[1] * scale // 2 * 2
    return np.asarray(Image.fromarray(frame_HWC).resize((width, height), Image.Resampling.BICUBIC))


def _mp4(frames_THWC: NDArray[np.uint8], fps: float) -> bytes:
    height, width = frames_THWC.shape[1:3]
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
        for frame in frames_THWC:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()


def _webp(frames_THWC: NDArray[np.uint8], fps: float) -> bytes:
    first, *others = (Image.fromarray(frame) for frame in frames_THWC)
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=80)
    return buffer.getvalue()
