"""`stillhouse predict` with a detector of forged videos: it is chosen by the folder's card, and says that a score is no proof."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from stillhouse.cluster.commands import predict
from stillhouse.methods.recognition.naco.card import DetectorCard
from stillhouse.methods.recognition.naco.model import fresh_network
from stillhouse.methods.recognition.naco.settings import Clips, Form
from stillhouse.platform.data.video_crops import CropSettings
from stillhouse.platform.errors import BadInput
from support.few_videos import real_video

av = pytest.importorskip("av")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    clips = Clips(length=8, side=32, margin=0)
    network = fresh_network(Form(width=16, layers=1, heads=2, hidden=16), clips, 0).eval()
    DetectorCard(
        network.form, clips, "logit", 110, True, 0.0, "6 videos", "few videos", ("SBI",), CropSettings(side=32).to_json(), 32,
        (25.0, 25.0),
    ).write(folder, network)  # fmt: skip
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for frame in real_video(1, 20).transpose(0, 2, 3, 1):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(stream.encode())
    return path


def test_a_video_gets_a_score_an_interval_and_a_timeline(
    detector: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(detector), str(video), "--landmarks", "crops", "--timelines", str(tmp_path / "plots"))
    result = predict.execute(arguments(*words, "--frames", "16"))
    (found,) = result["videos"]
    assert found["name"] == "film.mp4" and found["low"] < found["score"] < found["high"] and found["clips"] == 2
    assert Path(found["plot"]).is_file()
    said = capsys.readouterr().err
    for words in (
        "film.mp4: score",
        "95 % interval over clips",
        "a score is no proof",
        "forgeries learned: SBI",
        "not calibrated",
        "only the first 0.6 of 0.8 s of film.mp4",
    ):
        assert words in said, words


def test_a_file_that_cannot_be_used_is_told_beside_the_others(
    detector: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    words = (str(detector), str(tmp_path / "text.mp4"), str(video), "--landmarks", "crops", "--timelines")
    result = predict.execute(arguments(*words, str(tmp_path / "plots")))
    assert [one["name"] for one in result["videos"]] == ["film.mp4"]
    assert [one["name"] for one in result["failed"]] == ["text.mp4"]
    assert "text.mp4: not scored (text.mp4 cannot be read as a video" in capsys.readouterr().err


def test_what_is_asked_of_pictures_is_refused(detector: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--gallery are for pictures"):
        predict.execute(arguments(str(detector), str(video), "--gallery", str(tmp_path)))
    with pytest.raises(BadInput, match="placed by landmarks"):
        predict.execute(arguments(str(detector), str(video)))
    with pytest.raises(BadInput, match="without a file"):
        predict.execute(arguments(str(detector), str(video), "--landmarks", "files"))
    with pytest.raises(BadInput, match="landmarks of one video"):
        predict.execute(arguments(str(detector), str(video), "--table", "x.npz"))
