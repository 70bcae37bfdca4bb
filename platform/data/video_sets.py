"""Kinds of video sets, as a run's configuration says them.

A kind is a frozen dataclass whose fields are its settings (public); `load` gives videos to learn from, to validate and to test, with
nobody in two of them.
"""

from __future__ import annotations

from .video_own_sets import VideosFolder, VideosProcedural
from .video_public_sets import CelebDf, DeeperForensics, DeepfakeBench, Dfdc, FaceForensics, VoxCeleb2
from .video_set import VideoKind

VIDEO_KINDS: dict[str, type[VideoKind]] = {
    "videos_procedural": VideosProcedural,
    "videos_folder": VideosFolder,
    "faceforensics": FaceForensics,
    "celeb_df": CelebDf,
    "dfdc": Dfdc,
    "deeperforensics": DeeperForensics,
    "voxceleb2": VoxCeleb2,
    "deepfakebench": DeepfakeBench,
}
