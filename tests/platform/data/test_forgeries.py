"""Each family of forgeries changes what it says it changes, and nothing else; all by seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from stillhouse.platform.data.alignment import moved, similarity
from stillhouse.platform.data.forgeries import FAMILIES, check_families, forge
from stillhouse.platform.data.forgery_codecs import FaceCodes
from stillhouse.platform.data.forgery_points import EXPRESSIVE, MarkedTrack, hull_cover
from stillhouse.platform.data.forgery_selfblends import loop_numbers
from stillhouse.platform.data.forgery_swaps import held_at_random, to_and_fro
from stillhouse.platform.data.forgery_warp import moved_by, warped
from stillhouse.platform.data.procedural_heads import MarkedTracks, draw_heads
from stillhouse.platform.errors import BadInput

SIDE, FRAMES = 88, 16
DRAWN = ("SBI", "SBI_COHERENT", "INP", "TMP", "REPLAY", "JITTER", "NT", "SHUF", "LOCAL", "HOLD")


@pytest.fixture(scope="module")
def tracks() -> list[MarkedTrack]:
    heads = draw_heads(4, frames=FRAMES, side=SIDE, seed=3)
    assert isinstance(heads.tracks, MarkedTracks)
    every = np.arange(FRAMES)
    return [MarkedTrack(heads.tracks.read(i, every), heads.tracks.landmarks(i, every)) for i in range(4)]


@pytest.fixture(scope="module")
def codes(tracks: list[MarkedTrack]) -> FaceCodes:
    return FaceCodes.learnt(tracks[2:], seed=0, mouth_components=12, face_components=20)


@pytest.fixture(scope="module")
def made(tracks: list[MarkedTrack], codes: FaceCodes) -> dict[str, np.ndarray]:
    return {name: forged(name, tracks, codes) for name in FAMILIES}


def forged(name: str, tracks: list[MarkedTrack], codes: FaceCodes, seed: int = 0) -> np.ndarray:
    family = FAMILIES[name]
    return forge(
        name, tracks[0], np.random.default_rng(seed),
        donor=tracks[1] if family.needs_donor else None, codes=codes if family.needs_codes else None,
    )  # fmt: skip


def change(found: np.ndarray, face: MarkedTrack) -> np.ndarray:
    return np.abs(found.astype(float) - face.frames)


def unsteady(frames: np.ndarray, inside: np.ndarray) -> float:
    """Mean size of the second difference in time where the face is: what does not move evenly."""
    return float(np.abs(np.diff(frames.astype(float), 2, axis=0)).mean(1)[inside[1:-1]].mean())


def detail(frames: np.ndarray, inside: np.ndarray) -> float:
    """Median size of what a blur of a pixel takes away."""
    whole = frames.astype(float)
    return float(np.median(np.abs(whole - gaussian_filter(whole, (0, 0, 1, 1))).mean(1)[inside]))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_it_is_a_track_of_the_same_shape_and_by_seed(
    name: str, tracks: list[MarkedTrack], codes: FaceCodes, made: dict[str, np.ndarray]
) -> None:
    before = tracks[0].frames.copy()
    found, again, other = made[name], forged(name, tracks, codes), forged(name, tracks, codes, seed=1)
    assert found.shape == tracks[0].frames.shape and found.dtype == np.uint8
    assert (found == again).all() and (tracks[0].frames == before).all()
    assert (found != other).any() == (name in DRAWN)
    assert (change(found, tracks[0]).max((1, 2, 3)) > 0).mean() > 0.3


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.order_only])
def test_nothing_changes_outside_the_face(name: str, tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    face = tracks[0]
    # Inpainted brows, eyes and noses, and trembling outlines, stay within a few pixels of the oval.
    outside = hull_cover(face.part("oval"), SIDE, 9 * face.unit) == 0
    assert (change(made[name], face).max(1)[outside] == 0).all()
    inside = hull_cover(face.part("oval"), SIDE, -2) > 0.5
    assert change(made[name], face).max(1)[inside].mean() > 0.2


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.order_only])
def test_frames_of_order_forgeries_are_real(name: str, tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    real = {frame.tobytes(): number for number, frame in enumerate(tracks[0].frames)}
    shown = [real[frame.tobytes()] for frame in made[name]]
    assert shown != list(range(FRAMES))
    if name == "HOLD":
        assert sum(now == before for now, before in zip(shown[1:], shown, strict=False)) == 6
    else:
        assert sorted(shown) == list(range(FRAMES))


def test_a_swap_shows_the_donor_in_the_colours_of_the_face(
    tracks: list[MarkedTrack], made: dict[str, np.ndarray]
) -> None:
    face, donor = tracks[:2]
    inner = hull_cover(face.part("oval"), SIDE, -12 * face.unit) > 0.99  # where the mask is 1
    layer = warped(donor.frames, donor.points, face.points, sigma=9 * face.unit)
    for channel in range(3):
        shown, theirs, own = (one[:, channel].astype(float)[inner] for one in (made["FS"], layer, face.frames))
        assert np.corrcoef(shown, theirs)[0, 1] > max(0.93, np.corrcoef(shown, own)[0, 1] + 0.1)
    wide = hull_cover(face.part("oval"), SIDE, -5 * face.unit) > 0.5
    shown, own = (one.transpose(0, 2, 3, 1)[wide].astype(float) for one in (made["FS"], face.frames))
    assert np.abs(shown.mean(0) - own.mean(0)).max() < 4 and np.abs(shown.std(0) / own.std(0) - 1).max() < 0.25


def test_reenacted_skin_stands_still(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    """Brought back to the first frame by the points that do not express anything, real skin has new noise in each frame, this not."""
    face = tracks[0]
    steady = face.which.steady
    back = np.stack([similarity(face.points[0][steady], points[steady]) for points in face.points])
    cheeks = hull_cover(face.part("oval")[:1], SIDE, -14 * face.unit)[0] > 0.5
    for part in EXPRESSIVE:
        cheeks &= hull_cover(face.part(part)[:1], SIDE, 8 * face.unit)[0] == 0
    assert cheeks.sum() > 60

    def renewed(frames: np.ndarray) -> float:
        steady_frames = moved_by(frames, back)
        return float(np.abs(np.diff(steady_frames, axis=0)).mean(1)[:, cheeks].mean())

    assert renewed(made["RE"]) < 0.75 * renewed(face.frames)


def test_a_reenacted_mouth_follows_the_donor(tracks: list[MarkedTrack]) -> None:
    """A donor whose mouth alone opens and closes: what changes beside a donor with a still mouth is about the mouth."""
    face, donor = tracks[0], tracks[1]
    still = MarkedTrack(donor.frames, np.repeat(donor.points[:1], FRAMES, 0))
    talking = still.points.copy()
    lips = donor.which.of("lips", "inner_lips")
    middle = talking[:, lips].mean(1, keepdims=True)
    wide = 1 + 1.5 * (np.arange(FRAMES) % 2)[:, None]
    talking[:, lips, 1] = middle[..., 1] + wide * (talking[:, lips, 1] - middle[..., 1])
    one, other = (
        forge("RE", face, np.random.default_rng(0), donor=who) for who in (still, MarkedTrack(donor.frames, talking))
    )
    difference = np.abs(one.astype(float) - other).mean(1)
    about_mouth = hull_cover(face.part("lips"), SIDE, 5) > 0.5
    about_eyes = hull_cover(face.part("left_eye"), SIDE, 1) > 0.5
    assert difference[about_mouth].mean() > 5 * difference[about_eyes].mean() and difference[about_mouth].mean() > 1


def test_a_coded_mouth_is_smooth(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    inside = hull_cover(tracks[0].part("lips"), SIDE, 0) > 0.99
    assert detail(made["NT"], inside) < 0.75 * detail(tracks[0].frames, inside)


def test_a_coded_face_shows_what_the_code_was_taught(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    """Taught by the track itself it is nearly that track, taught by blurred faces it is blurred, by others' it is neither."""
    face = tracks[0]
    inside = hull_cover(face.part("oval"), SIDE, -14 * face.unit) > 0.99
    blurred = [
        MarkedTrack(gaussian_filter(track.frames.astype(float), (0, 0, 2, 2)).astype(np.uint8), track.points)
        for track in tracks[:2]
    ]
    own, smooth = (
        forge("AE", face, np.random.default_rng(0), codes=FaceCodes.learnt(
            taught, seed=0, mouth_components=4, face_components=12))
        for taught in ([face], blurred)
    )  # fmt: skip
    apart = [change(found, face).mean(1)[inside].mean() for found in (own, made["AE"])]
    assert apart[0] < 0.5 * apart[1]
    assert detail(smooth, inside) < 0.6 * min(detail(face.frames, inside), detail(made["AE"], inside))


def test_a_coded_mouth_changes_the_mouth_only(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    face = tracks[0]
    far = hull_cover(face.part("lips"), SIDE, (7 + 9 / 2 + 1) * face.unit + 1) == 0
    assert (change(made["NT"], face).max(1)[far] == 0).all()


def test_self_blends_flicker_and_coherent_ones_do_not(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    face = tracks[0]
    inside = hull_cover(face.part("oval"), SIDE, -6 * face.unit) > 0.5
    real, anew, once = (unsteady(one, inside) for one in (face.frames, made["SBI"], made["SBI_COHERENT"]))
    assert anew > 1.8 * real and once < 1.25 * real
    # Their gap is time alone: single frames differ from the real ones alike.
    sizes = [
        np.median([change(forge(name, face, np.random.default_rng(seed)), face).mean() for seed in range(6)])
        for name in ("SBI", "SBI_COHERENT")
    ]
    assert 0.4 < sizes[0] / sizes[1] < 2.5


def test_inpainting_fills_the_same_two_parts_in_all_frames(
    tracks: list[MarkedTrack], made: dict[str, np.ndarray]
) -> None:
    face = tracks[0]
    reach = (1 + 4 * 1.5) * face.unit + 1  # grown, and four standard deviations of the trembling
    touched = {}
    for part in ("left_eye", "right_eye", "lips", "nose"):
        core = hull_cover(face.part(part), SIDE, 0.5) > 0.5
        touched[part] = np.array(
            [(one[here] > 3).mean() for one, here in zip(change(made["INP"], face).max(1), core, strict=True)]
        )
    parts = sorted(touched, key=lambda part: -touched[part].mean())[:2]
    assert min((touched[part] > 0.25).mean() for part in parts) > 0.9, touched
    allowed = np.maximum(*(hull_cover(face.part(part), SIDE, reach) for part in parts)) > 0
    assert (change(made["INP"], face).max(1)[~allowed] == 0).all()
    # What is filled has lost its dark and bright spots.
    for part in parts:
        core = hull_cover(face.part(part), SIDE, 0.0) > 0.9
        assert made["INP"].mean(1)[core].std() < face.frames.mean(1)[core].std()


def test_swaps_show_the_donors_frames_in_order_or_not(tracks: list[MarkedTrack]) -> None:
    """A donor that stands still while a pattern on its face changes: which of its frames is shown can be read off."""
    face = MarkedTrack(tracks[0].frames[:9], tracks[0].points[:9])
    rng = np.random.default_rng(0)
    patterns = gaussian_filter(rng.standard_normal((7, 3, SIDE, SIDE)), (0, 0, 3, 3))
    frames = np.clip(128 + 40 * patterns / patterns.std(), 0, 255).astype(np.uint8)
    donor = MarkedTrack(frames, np.repeat(tracks[1].points[:1], 7, 0))
    inner = hull_cover(face.part("oval"), SIDE, -14 * face.unit) > 0.99

    def shown(name: str) -> list[int]:
        found = forge(name, face, np.random.default_rng(4), donor=donor).astype(float)
        numbers = []
        for frame, points, here in zip(found, face.points, inner, strict=True):
            layers = warped(frames, donor.points, np.repeat(points[None], 7, 0), sigma=9 * face.unit)
            # Channel by channel: colours are brought to those of the face.
            alike = [np.mean([np.corrcoef(frame[c][here], layer[c][here])[0, 1] for c in range(3)]) for layer in layers]
            assert max(alike) > 0.9
            numbers.append(int(np.argmax(alike)))
        return numbers

    assert shown("FS") == to_and_fro(9, 7).tolist()
    jumping = shown("TMP")
    assert jumping == held_at_random(9, 7, np.random.default_rng(4)).tolist()
    assert np.abs(np.diff(jumping)).max() > 1


def test_replay_repeats_eyes_or_mouth(tracks: list[MarkedTrack]) -> None:
    face = tracks[0]
    seen = set()
    for seed in range(6):
        found = forge("REPLAY", face, np.random.default_rng(seed))
        by_part = {}
        for part in ("left_eye", "right_eye", "lips"):
            here = hull_cover(face.part(part), SIDE, 0) > 0.5
            by_part[part] = change(found, face).max(1)[here].mean()
        eyes = min(by_part["left_eye"], by_part["right_eye"]) > by_part["lips"]
        seen.add(eyes)
        quiet = by_part["lips"] if eyes else max(by_part["left_eye"], by_part["right_eye"])
        assert quiet < 0.2 * max(by_part.values())
    assert seen == {True, False}


def test_jitter_moves_the_face_on_its_head(tracks: list[MarkedTrack], made: dict[str, np.ndarray]) -> None:
    face = tracks[0]
    inside = hull_cover(face.part("oval"), SIDE, -6 * face.unit) > 0.5
    assert unsteady(made["JITTER"], inside) > 1.5 * unsteady(face.frames, inside)
    # It has no colours of its own.
    assert np.abs(made["JITTER"].mean((0, 2, 3)) - face.frames.mean((0, 2, 3))).max() < 1.5


def test_forgeries_follow_the_size_of_the_face() -> None:
    """The same head drawn twice as large is forged to twice the scale."""
    shares = []
    for side in (64, 128):
        heads = draw_heads(1, frames=3, side=side, seed=1)
        assert isinstance(heads.tracks, MarkedTracks)
        face = MarkedTrack(heads.tracks.read(0, range(3)), heads.tracks.landmarks(0, range(3)))
        changed = change(forge("SBI_COHERENT", face, np.random.default_rng(0)), face).max(1) > 3
        shares.append(changed.mean())
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_orders_of_donors_frames() -> None:
    assert to_and_fro(7, 3).tolist() == [0, 1, 2, 1, 0, 1, 2] and to_and_fro(3, 1).tolist() == [0, 0, 0]
    held = held_at_random(4000, 9, np.random.default_rng(0))
    lengths = np.diff(np.flatnonzero(np.diff(held, prepend=-1)))
    assert (
        set(lengths.tolist()) == {1, 2, 3}
        and lengths.mean() == pytest.approx(2, rel=0.05)
        and set(held) == set(range(9))
    )
    for seed in range(20):
        shown = loop_numbers(40, np.random.default_rng(seed))
        length = len(set(shown.tolist()))
        assert 6 <= length <= 10 and (shown[length:] == shown[:-length]).all() and (np.diff(shown[:length]) == 1).all()


def test_a_face_is_placed_by_its_points_only(tracks: list[MarkedTrack]) -> None:
    """The whole track moved by whole pixels, points and all, is forged to the same face, moved."""
    face, donor = tracks[:2]
    shift = np.array([[1.0, 0, 2], [0, 1, -1]])
    moved_frames = np.roll(face.frames, (-1, 2), (2, 3))
    other = MarkedTrack(moved_frames, moved(face.points, shift))
    one, there = (forge("FS", which, np.random.default_rng(0), donor=donor) for which in (face, other))
    inner = slice(8, 80)
    difference = np.abs(np.roll(one, (-1, 2), (2, 3)).astype(float) - there)[:, :, inner, inner]
    assert difference.mean() < 0.2


def test_what_is_missing_or_unknown_is_refused(tracks: list[MarkedTrack], codes: FaceCodes) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(BadInput, match="did you mean 'SBI'"):
        forge("sbi", tracks[0], rng)
    with pytest.raises(BadInput, match="no donor"):
        forge("FS", tracks[0], rng)
    with pytest.raises(BadInput, match="no codes"):
        forge("AE", tracks[0], rng)
    with pytest.raises(BadInput, match="twice"):
        check_families(["SBI", "SBI"])
    few = MarkedTrack(tracks[1].frames, np.random.default_rng(0).uniform(20, 60, (FRAMES, 68, 2)))
    for family in ("FS", "RE", "TMP"):
        with pytest.raises(BadInput, match="68"):
            forge(family, tracks[0], rng, donor=few)
    with pytest.raises(BadInput, match="68"):
        forge("AE", few, rng, codes=codes)
