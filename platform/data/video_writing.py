"""Frames encoded as video by PyAV: for files, and to put the traces of an encoder into real and forged tracks alike."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .video_reading import pyav

# Encoders that give back every pixel take RGB; the others take what players expect.
EXACT = {"ffv1": "bgr0", "libx264rgb": "rgb24"}


def write_video(
    target: Path | io.BytesIO,
    frames: np.ndarray,
    *,
    fps: float = 25.0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: str | None = None,
    times: Sequence[int] | None = None,
) -> None:
    """Encode a video, in one thread.

    Args:
        target: a file, whose suffix names the container, or a buffer.
        frames: uint8 (t, height, width, 3), RGB; even height and width, unless the encoder is one of `EXACT`.
        fps: frames per second.
        codec: FFmpeg's name of the encoder: libx264, mpeg4, or of `EXACT` ffv1 and libx264rgb.
        options: of the encoder, such as {"crf": "23"}.
        container: FFmpeg's name of it, for a buffer.
        times: when each frame is shown, in rising milliseconds, where the rate is variable.

    Raises:
        BadInput: these are no such frames, or the encoder refuses them.
        MissingExtra: PyAV is not installed.
    """
    av = pyav()
    array = np.asarray(frames)
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not array.size:
        raise BadInput(f"frames of {array.dtype} and shape {array.shape}", why="they are uint8 (t, height, width, 3)")
    where: Any = target if isinstance(target, io.BytesIO) else str(target)
    try:
        with av.open(where, "w", format=container) as file:
            stream = file.add_stream(codec, rate=Fraction(fps).limit_denominator(100_000))
            stream.height, stream.width = array.shape[1:3]
            stream.pix_fmt = EXACT.get(codec, "yuv420p")
            stream.options = {"threads": "1", **(options or {})}
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number, picture in enumerate(array):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise BadInput(
            f"{len(array)} frames of {array.shape[2]} x {array.shape[1]} cannot be encoded by {codec}",
            why=type(error).__name__,
            mend="use an even height and width, and an encoder that `av.codecs_available` lists",
        ) from None


def recompressed(frames: np.ndarray, *, fps: float, crf: int) -> np.ndarray:
    """The frames after H.264 at a constant rate factor: uint8 (t, 3, side, side) as they came.

    Args:
        frames: uint8 (t, 3, side, side), side even.
        fps: frames per second, on which the encoder's choices depend a little.
        crf: 0 loses next to nothing, 23 is usual, 40 is poor.

    Raises:
        BadInput: the encoder refuses them.
        MissingExtra: PyAV is not installed.
    """
    buffer = io.BytesIO()
    write_video(
        buffer,
        frames.transpose(0, 2, 3, 1),
        fps=fps,
        # Else some of libx264's vector code gives other bits from call to call, by where its buffers happen to lie.
        options={"crf": str(crf), "preset": "veryfast", "x264-params": "cpu-independent=1"},
        container="mp4",
    )
    buffer.seek(0)
    with pyav().open(buffer) as file:
        back = [frame.to_ndarray(format="rgb24") for frame in file.decode(file.streams.video[0])]
    return np.ascontiguousarray(np.stack(back).transpose(0, 3, 1, 2))
