"""Drawn faces: people stay who they are, pictures of one differ, and who it is can be learnt at 16 x 16, though not by pixels alone."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.data.face_pairs import make_pairs
from stillhouse.platform.data.faces import FaceImages, FacePairs
from stillhouse.platform.data.procedural_faces import draw_people
from stillhouse.platform.errors import BadInput


def pixels(faces: FaceImages) -> np.ndarray:
    return faces.read(np.arange(len(faces)))


def test_a_person_is_the_same_however_many_are_drawn() -> None:
    many = draw_people(7, media=2, frames=3, side=24, seed=5)
    few = draw_people(2, media=2, frames=3, side=24, seed=5, first=3)
    assert (pixels(few) == pixels(many)[18:30]).all()
    assert few.names == tuple(many.names[18:30]) and few.people_names == ("person0003", "person0004")
    assert few.media.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert not (pixels(draw_people(2, media=2, frames=3, side=24, seed=6, first=3)) == pixels(few)).all()


def test_without_nuisance_only_noise_tells_pictures_of_a_person_apart() -> None:
    faces = draw_people(6, media=3, frames=2, side=48, seed=1, nuisance=0)
    grouped = pixels(faces).astype(float).reshape(6, 6, -1)
    within = np.abs(grouped - grouped.mean(1, keepdims=True)).mean()
    between = np.abs(grouped.mean(1, keepdims=True) - grouped.mean((0, 1))).mean()
    assert within < 6 and between > 3 * within
    moved = pixels(draw_people(6, media=3, frames=2, side=48, seed=1)).astype(float).reshape(6, 6, -1)
    assert np.abs(moved - moved.mean(1, keepdims=True)).mean() > 3 * within


def test_media_share_their_light() -> None:
    """Pictures of one session are nearer to each other than to the same person's other sessions."""
    grouped = pixels(draw_people(10, media=3, frames=3, side=24, seed=2)).astype(float).reshape(10, 3, 3, -1)
    same = np.abs(grouped[:, :, 0] - grouped[:, :, 1]).mean()
    other = np.abs(grouped[:, 0] - grouped[:, 1]).mean()
    assert other > 1.5 * same


def test_eyes_lie_where_alignment_puts_them() -> None:
    """Without nuisance, what is white in the upper face is in the eyes: at the template's height, and left as often as right."""
    whites = pixels(draw_people(40, media=1, frames=1, seed=3, nuisance=0)).min(1).astype(int)
    box = whites[:, 44:60, 20:92]
    found = np.argwhere((box > 185) & (box > whites[:, 70:71, 55:56] + 15))
    assert len(found) > 300
    assert abs(found[:, 1].mean() + 44 - 51.6) < 2.5 and abs(found[:, 2].mean() + 20 - 56) < 3


def accuracy(embeddings: np.ndarray, pairs: FacePairs) -> float:
    """Ten-fold style: the threshold is the best on the other folds."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores, right = (unit[pairs.first] * unit[pairs.second]).sum(1), []
    for fold in range(pairs.folds):
        rest = pairs.fold != fold
        best = max(scores[rest], key=lambda t, rest=rest: ((scores[rest] >= t) == pairs.same[rest]).mean())
        right.append(((scores[~rest] >= best) == pairs.same[~rest]).mean())
    return float(np.mean(right))


def test_identity_can_be_learnt_at_16_pixels_but_not_perfectly() -> None:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    parts = [draw_people(40, media=3, frames=4, side=32, seed=7, first=first) for first in (0, 1000)]
    # 32 -> 16 by averaging: cheaper to draw than 112, and as hard.
    train, test = (pixels(part).reshape(480, 3, 16, 2, 16, 2).mean((3, 5)).reshape(480, -1) / 255 for part in parts)
    pairs = make_pairs(parts[1], folds=5, genuine=60, impostor=60, seed=1)
    reduce = PCA(80, random_state=0).fit(train)
    learnt = LinearDiscriminantAnalysis(n_components=30, solver="eigen", shrinkage=0.1)
    learnt.fit(reduce.transform(train), parts[0].identities)
    raw, better = accuracy(test - train.mean(0), pairs), accuracy(learnt.transform(reduce.transform(test)), pairs)
    assert 0.55 < raw < 0.8 and raw + 0.08 < better < 0.98


@pytest.mark.parametrize(
    "wrong", [{"people": 0}, {"media": 0}, {"frames": 0}, {"side": 7}, {"nuisance": -1.0}, {"first": -1}]
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput, match="whole numbers from 1"):
        draw_people(**{"people": 1, "media": 1, "frames": 1, "side": 16, "seed": 0, **wrong})
