"""A finished detector on a video file: the score, its interval, the timeline, what is said beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from stillhouse.methods.recognition.naco.card import DetectorCard, is_detector, read_detector
from stillhouse.methods.recognition.naco.model import Network, fresh_network
from stillhouse.methods.recognition.naco.predicting import mean_interval, predict_videos
from stillhouse.methods.recognition.naco.scoring import clip_logits
from stillhouse.platform.data.alignment import TEMPLATE
from stillhouse.platform.data.video_crops import CropSettings
from stillhouse.platform.errors import BadInput
from support.few_videos import real_video

from .little import CLIPS, FORM

av = pytest.importorskip("av")


def write_video(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps), options={"crf": "0"})
        stream.width = stream.height = frames.shape[-1]
        stream.pix_fmt = "yuv444p"
        for frame in frames.transpose(0, 2, 3, 1):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path


def detector(folder: Path, **changes: object) -> Network:
    folder.mkdir(exist_ok=True)
    network = fresh_network(replace(FORM, zero_residual=False), CLIPS, 0).eval()
    card = DetectorCard(
        network.form, CLIPS, "logit", 110, True, 0.1, "6 validation videos", "few videos, seed 0", ("FLICKER",),
        crop=CropSettings(side=32, points="none").to_json(), track_side=32, fps=(25.0, 25.0),
    )  # fmt: skip
    replace(card, **changes).write(folder, network)  # type: ignore[arg-type]
    return network


def test_a_video_is_scored_clip_by_clip_with_an_interval_and_a_timeline(tmp_path: Path) -> None:
    network = detector(tmp_path / "run")
    frames = real_video(3, 30)
    video = write_video(tmp_path / "film.mp4", frames)
    predicted = predict_videos(tmp_path / "run", [video], plots=tmp_path / "plots")
    (found,), card, notes = predicted.videos, predicted.card, predicted.notes
    assert not predicted.failed
    logits = np.array(clip_logits(network, frames, [0, 8, 16]))
    assert found.clips == 3 and found.frames == 30 and found.fps == pytest.approx(25) and not found.missing
    assert found.score == pytest.approx(logits.mean(), abs=0.02)  # colours pass through an encoder
    assert found.low is not None and found.high is not None and found.low < found.score < found.high
    assert found.verdict == ("forged" if found.score >= 0.1 else "real")
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.score)))
    assert len(found.logits) == 30
    assert (tmp_path / "plots" / "film.svg").read_text().startswith("<svg") and found.plot.endswith("film.svg")
    assert any("no proof" in note for note in notes) and any("FLICKER" in note for note in notes)
    assert any("middle square" in note for note in notes) and any("may be far off" in note for note in notes)
    assert card.sha256


def test_one_short_clip_at_another_rate_has_no_interval_and_all_is_said(tmp_path: Path) -> None:
    detector(tmp_path / "run", threshold=None, crop={}, fps=(50.0, 50.0))
    video = write_video(tmp_path / "short.mp4", real_video(3, 6))
    predicted = predict_videos(tmp_path / "run", [video])
    (found,), notes = predicted.videos, predicted.notes
    assert (
        found.clips == 1
        and found.mirrored
        and found.low is None
        and found.verdict == "no threshold"
        and found.plot == ""
    )
    for words in ("mirrored", "no interval", "nothing is decided", "frames per second", "usual crop"):
        assert any(words in note for note in notes), words


def test_one_file_that_cannot_be_used_takes_no_verdict_from_the_others(tmp_path: Path) -> None:
    detector(tmp_path / "run")
    video = write_video(tmp_path / "film.mp4", real_video(3, 20))
    (tmp_path / "text.mp4").write_text("no video")
    absent = tmp_path / "absent.mp4"
    found = predict_videos(tmp_path / "run", [tmp_path / "text.mp4", video, absent])
    assert [one.name for one in found.videos] == ["film.mp4"]
    assert [one.name for one in found.failed] == ["text.mp4", "absent.mp4"]
    assert "cannot be read as a video" in found.failed[0].why and "is not there" in found.failed[1].why
    assert any("2 of 3 videos could not be used" in note for note in found.notes)
    with pytest.raises(BadInput, match="not one of 2 videos can be used"):
        predict_videos(tmp_path / "run", [tmp_path / "text.mp4", absent])


def test_films_of_one_name_have_timelines_and_names_of_their_own(tmp_path: Path) -> None:
    detector(tmp_path / "run")
    films = []
    for number, name in enumerate(("a/film.mp4", "b/film.mp4", "film.mkv", "film-2.mp4")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        films.append(write_video(tmp_path / name, real_video(number, 12)))
    found = predict_videos(tmp_path / "run", films, plots=tmp_path / "plots").videos
    assert [one.name for one in found] == [str(films[0]), str(films[1]), "film.mkv", "film-2.mp4"]
    assert len({one.plot for one in found}) == len(list((tmp_path / "plots").iterdir())) == 4
    assert found[0].plot.endswith("film.svg")
    for one in found:
        assert Path(one.name).name in Path(one.plot).read_text()


def test_where_faces_were_placed_on_one_side_only_it_is_said(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mp4", real_video(3, 12))
    crop = CropSettings(side=32, points="mediapipe")
    detector(tmp_path / "placed", crop=crop.to_json())
    with pytest.raises(BadInput, match=r"learned from faces that were placed by landmarks.*--landmarks crops"):
        predict_videos(tmp_path / "placed", [video])
    said = predict_videos(tmp_path / "placed", [video], landmarks="crops").notes
    assert any("middle square" in note and "placed by landmarks" in note for note in said)
    detector(tmp_path / "crops", crop=replace(crop, points="none").to_json())
    assert not any("placed by landmarks" in note for note in predict_videos(tmp_path / "crops", [video]).notes)
    points = 0.2 * (TEMPLATE - TEMPLATE.mean(0)) + 16 + np.zeros((12, 1, 1))
    np.savez(tmp_path / "film.npz", points=points)
    said = predict_videos(tmp_path / "crops", [video], landmarks="files", table=tmp_path / "film.npz").notes
    assert any("crops already" in note for note in said)


def test_a_video_without_a_face_is_refused(tmp_path: Path) -> None:
    detector(tmp_path / "run", crop=CropSettings(side=32).to_json())
    video = write_video(tmp_path / "film.mp4", real_video(3, 12))
    points = np.full((12, 5, 2), np.nan)
    points[:5] = 0.2 * (TEMPLATE - TEMPLATE.mean(0)) + 16
    np.savez(tmp_path / "film.npz", points=points)
    with pytest.raises(BadInput, match=r"film\.mp4 shows no face: in 7 of 12 frames none was found\. To mend it"):
        predict_videos(tmp_path / "run", [video], landmarks="files", table=tmp_path / "film.npz")


def test_how_much_of_a_video_was_looked_at_is_told(tmp_path: Path) -> None:
    detector(tmp_path / "run", max_frames=20)
    video = write_video(tmp_path / "film.mp4", real_video(3, 50))
    predicted = predict_videos(tmp_path / "run", [video])
    (found,) = predicted.videos
    assert (found.frames, found.clips) == (20, 2) and found.seconds == pytest.approx(2.0)
    assert "only the first 0.8 of 2.0 s of film.mp4 were looked at" in predicted.notes
    for frames, clips in ((50, 6), (51, 6), (40, 5)):
        more = predict_videos(tmp_path / "run", [video], frames=frames)
        assert (more.videos[0].frames, more.videos[0].clips) == (min(frames, 50), clips)
        assert any("only the first" in note for note in more.notes) == (frames < 50)
        assert more.card.max_frames == 20
    for frames, words in ((0, "frames"), (3001, "3001 frames are too many")):
        with pytest.raises(BadInput, match=words):
            predict_videos(tmp_path / "run", [video], frames=frames)


def test_a_whole_video_is_not_called_cut_short_at_any_rate(tmp_path: Path) -> None:
    detector(tmp_path / "run")
    points = 0.2 * (TEMPLATE - TEMPLATE.mean(0)) + 16 + np.zeros((9, 1, 1))
    np.savez(tmp_path / "film.npz", points=points)
    for fps in (24, 25, 30, 50, 60):
        video = write_video(tmp_path / f"film{fps}.mp4", real_video(3, 29), fps)
        predicted = predict_videos(tmp_path / "run", [video])
        assert not any("only the first" in note for note in predicted.notes), fps
    # Nor one whose landmarks end before it does: those frames are missing, and that is told.
    video = write_video(tmp_path / "film.mp4", real_video(3, 12))
    notes = predict_videos(tmp_path / "run", [video], landmarks="files", table=tmp_path / "film.npz").notes
    assert any("3 frames of film.mp4" in note and "end of the landmarks" in note for note in notes)
    assert not any("only the first" in note for note in notes)


def test_files_that_are_no_videos_and_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    detector(tmp_path / "run")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadInput):
        predict_videos(tmp_path / "run", [tmp_path / "text.mp4"])
    with pytest.raises(BadInput, match="holds no video detector"):
        read_detector(tmp_path)
    assert is_detector(tmp_path / "run") and not is_detector(tmp_path)
    (tmp_path / "run" / "detector.safetensors").write_bytes(b"other")
    with pytest.raises(BadInput, match="SHA-256"):
        read_detector(tmp_path / "run")


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    detector(tmp_path / "run")
    data = json.loads((tmp_path / "run" / "card.json").read_text())
    card = DetectorCard.from_json(data)
    assert card.to_json() == json.loads(json.dumps(data)) | {"forgeries": ("FLICKER",), "fps": (25.0, 25.0)}
    assert DetectorCard.from_json(card.to_json()) == card
    with pytest.raises(BadInput, match="does not have secret"):
        DetectorCard.from_json({**data, "secret": 1})
    with pytest.raises(BadInput, match="not whole"):
        DetectorCard.from_json({name: value for name, value in data.items() if name != "clips"})


def test_the_interval_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    intervals = [mean_interval(draw.normal(2.0, 3.0, 5)) for _ in range(2000)]
    covered = np.mean([one is not None and one[0] <= 2.0 <= one[1] for one in intervals])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)
    low, high = mean_interval(np.array([0.0, 2.0]))  # type: ignore[misc]
    assert (high - low) / 2 == pytest.approx(float(t.ppf(0.975, 1)) * 1.0)
