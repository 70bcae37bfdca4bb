"""Clips a second that a loader hands out, from cached crops and by decoding, and that NACO's network learns from, on one core.

    OMP_NUM_THREADS=1 python benchmarks/video_loading.py [FOLDER]

FOLDER holds `real` videos and `landmarks`; without it, videos of drawn heads (256 pixels, H.264) are made, of which the middle is
taken. A clip is 16 frames from a random start. By decoding, just these frames are read from the file, and the face is cut out of each;
from the cache they are read by memory map. Learning is one step of stage 2 on twelve clips: augmentation, forward, backward, AdamW.
Seconds are the process's own; another program on the machine still costs some, by what it takes of caches and of a shared core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stillhouse.methods.recognition.naco.clips import augmented, draw_augmentation
from stillhouse.methods.recognition.naco.finetuning import Detector
from stillhouse.methods.recognition.naco.form import Clips, Form
from stillhouse.methods.recognition.naco.model import Network
from stillhouse.methods.recognition.naco.settings import Finetuning
from stillhouse.platform.data.alignment import middle_square
from stillhouse.platform.data.procedural_heads import draw_heads
from stillhouse.platform.data.video_building import cut_listing
from stillhouse.platform.data.video_cache import CachedTracks, VideoCache
from stillhouse.platform.data.video_crops import CropSettings, cut_face, placed
from stillhouse.platform.data.video_landmarks import LandmarkFiles, read_points
from stillhouse.platform.data.video_listing import Listing
from stillhouse.platform.data.video_reading import read_clip
from stillhouse.platform.data.video_tables import read_real_and_fake
from stillhouse.platform.data.video_writing import write_video

CLIP = 16
BATCH = 12


def drawn_videos(folder: Path, people: int = 6) -> None:
    """Videos of drawn heads."""
    (folder / "real").mkdir()
    heads = draw_heads(people, frames=48, side=256, seed=0)
    for number in range(people):
        frames = heads.tracks.read(number, np.arange(48)).transpose(0, 2, 3, 1)
        write_video(folder / "real" / f"{number}.mp4", frames, options={"crf": "23"})


def by_decoding(
    listing: Listing, landmarks: LandmarkFiles | None, settings: CropSettings
) -> Callable[[int, int], np.ndarray]:
    """Read one clip from the file."""
    transforms = {}
    for number, video in enumerate(listing.videos):
        found = None if landmarks is None else landmarks.find(video.footage)
        if found is not None:
            transforms[number] = placed(read_points(found), settings)

    def read(number: int, start: int) -> np.ndarray:
        footage = listing.videos[number].footage
        clip = read_clip(footage.path, range(start, start + CLIP))  # type: ignore[union-attr]
        if number not in transforms:
            return np.stack([middle_square(frame, settings.side).transpose(2, 0, 1) for frame in clip.frames])
        own = transforms[number]
        return np.stack(
            [cut_face(frame, own[at], settings.side) for frame, at in zip(clip.frames, clip.read, strict=True)]
        )

    return read


def clips_a_second(read: Callable[[int, int], np.ndarray], lengths: list[int], clips: int) -> float:
    """Of clips with random starts of random videos, after one that warms up."""
    rng = np.random.default_rng(0)
    read(0, 0)
    numbers = rng.integers(len(lengths), size=clips).tolist()
    starts = [int(rng.integers(lengths[number] - CLIP + 1)) for number in numbers]
    began = time.process_time()
    for number, start in zip(numbers, starts, strict=True):
        assert len(read(number, start)) == CLIP
    return clips / (time.process_time() - began)


def clips_learned_a_second(tracks: CachedTracks, lengths: list[int], side: int, steps: int) -> float:
    """Of steps of stage 2 by the small network, after one that warms up; reading the clips is not counted."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    clips = Clips(side=side - Clips().margin)
    detector = Detector(Network(Form(), clips), "full", None, 0.0).train()
    optimiser = torch.optim.AdamW(detector.parameters(), 5e-4)
    draws = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(1)
    labels = torch.arange(BATCH).remainder(2).float()
    took = 0.0
    for step in range(steps + 1):
        numbers = rng.integers(len(lengths), size=BATCH).tolist()
        starts = [int(rng.integers(lengths[number] - CLIP + 1)) for number in numbers]
        read = [tracks.read(number, range(at, at + CLIP)) for number, at in zip(numbers, starts, strict=True)]
        began = time.process_time()
        draw = draw_augmentation(Finetuning().augmentation, clips, BATCH, draws)
        optimiser.zero_grad()
        detector(augmented(torch.from_numpy(np.stack(read)), draw, clips), labels)["loss"].backward()
        optimiser.step()
        took += (time.process_time() - began) * (step > 0)
    return steps * BATCH / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument(
        "--clips", type=int, default=24, help="that are decoded; fifty times as many are read from the cache"
    )
    parser.add_argument("--side", type=int, default=88)
    parser.add_argument("--steps", type=int, default=10, help="of learning")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        aside = Path(place)
        folder: Path = words.folder or aside
        if words.folder is None:
            drawn_videos(folder)
        settings = CropSettings(side=words.side, points="none" if words.folder is None else "files")
        landmarks = None if words.folder is None else LandmarkFiles(folder / "landmarks", folder / "real")
        listing = read_real_and_fake(folder)
        began = time.process_time()
        cut = cut_listing(listing, settings, VideoCache(aside / "cache"), landmarks=landmarks)
        filling = time.process_time() - began
        tracks = CachedTracks(cut.entries)
        lengths = [tracks.frames(number) for number in range(len(tracks))]
        began = time.process_time()
        cut_listing(listing, settings, again := VideoCache(aside / "cache"), landmarks=landmarks)
        checking = time.process_time() - began
        assert again.found == len(tracks)
        decoding = clips_a_second(by_decoding(listing, landmarks, settings), lengths, words.clips)
        cached = clips_a_second(
            lambda number, start: tracks.read(number, range(start, start + CLIP)), lengths, 50 * words.clips
        )
        learning = clips_learned_a_second(tracks, lengths, words.side, words.steps)
    frames = sum(lengths)
    print(
        f"{len(lengths)} videos, {frames:,} frames of {words.side} pixels; clips of {CLIP} frames, seconds of one core"
    )
    print(f"filling the cache     {filling:8.1f} s   {frames / filling:10,.0f} frames a second")
    print(f"checking the cache    {checking:8.2f} s   {frames / checking:10,.0f} frames a second")
    print(f"clips by decoding     {decoding:8.1f} a second")
    print(f"clips from the cache  {cached:8.0f} a second   {cached / decoding:.0f} times as many")
    print(
        f"clips learned from    {learning:8.1f} a second   a step waits {100 * learning / cached:.1f} % of its time for the cache, "
        f"{100 * learning / decoding:.0f} % for decoding"
    )


if __name__ == "__main__":
    main()
