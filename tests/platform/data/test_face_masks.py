"""Masks on faces: what is covered is covered, what is not stays as it was, and six points lie where they belong."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data.face_masks import MaskMaker, lit_like, recoloured, warped
from stillhouse.platform.data.homography import homography, project
from stillhouse.platform.data.mask_drawing import KINDS, draw_mask
from stillhouse.platform.data.mask_points import aligned_points, points_of_68
from stillhouse.platform.errors import BadInput

from .landmark_face import face as landmarks_of_a_face

PLAIN = {"recolour": 0.0, "patterned": 0.0, "jitter": 0.0, "lift": 0.0, "follow": False}
FEW = MaskMaker(drawings=6)
# Five times what they are in an aligned crop, so that they can be met exactly.
DOTS = {"a": (50, 70), "b": (240, 40), "c": (430, 70), "f": (390, 220), "e": (240, 305), "d": (90, 220)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, side: int = 112, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=seeded(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three templates of one kind, blue for the front, green to the left, red to the right, with a white dot on each point."""
    (tmp_path / "templates").mkdir()
    y, x = np.mgrid[:360, :480]
    text = ""
    for name, colour in (
        ("cup", (0, 0, 200)),
        ("cup_left", (0, 200, 0)),
        ("cup_right", (200, 0, 0)),
        ("hat", (9, 9, 9)),
    ):
        picture = np.full((360, 480, 4), (*colour, 255), np.uint8)
        for across, down in DOTS.values():
            picture[(x - across) ** 2 + (y - down) ** 2 < 15**2, :3] = 255
        Image.fromarray(picture).save(tmp_path / "templates" / f"{name}.png")
        text += f"[{name}]\ntemplate: masks/templates/{name}.png\n"
        text += "".join(f"mask_{point}: {px}, {py}\n" for point, (px, py) in DOTS.items())
    (tmp_path / "masks.cfg").write_text(text)
    return tmp_path


def dots(image: torch.Tensor, near: np.ndarray) -> np.ndarray:
    """Middle of the white spot next to each of some points (n, 2)."""
    white = image.amin(0).numpy() ** 2
    y, x = np.mgrid[: white.shape[0], : white.shape[1]]
    found = []
    for across, down in near:
        weight = white * (np.hypot(x - across, y - down) < 6)
        found.append([(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()])
    return np.array(found)


class TestWhatIsCovered:
    @settings(max_examples=10)
    @given(seed=st.integers(0, 10**6), side=st.sampled_from([32, 64, 112]))
    def test_the_rest_stays_as_it_was(self, seed: int, side: int) -> None:
        images = pictures(2, side, seed)
        before = images.clone()
        masked, alpha = FEW.put(images, seeded(seed))
        assert masked.shape == images.shape and alpha.shape == (2, 1, side, side)
        assert torch.equal(images, before)
        assert masked.min() >= 0 and masked.max() <= 1 and alpha.min() >= 0 and alpha.max() <= 1
        open_ = (alpha == 0).expand_as(images)
        assert torch.equal(masked[open_], images[open_])
        assert not torch.equal(masked, images)
        # Eyes are free, nose tip, mouth and chin are not.
        eyes, mouth = round(51 * side / 112), round(90 * side / 112)
        assert float(alpha[:, :, : eyes - side // 16, side // 4 : -side // 4].max()) == 0
        assert float(alpha[:, :, mouth, round(0.45 * side) : round(0.55 * side)].min()) > 0.95
        assert 0.1 < alpha.mean() < 0.5

    def test_a_mask_hides_what_is_under_it(self) -> None:
        maker = MaskMaker(drawings=4, follow=False)
        (first, alpha), (other, same) = (maker.put(pictures(2, seed=seed), seeded(7)) for seed in (0, 1))
        assert torch.equal(alpha, same)
        hidden = (alpha == 1).expand_as(first)
        assert hidden.float().mean() > 0.1
        assert torch.equal(first[hidden], other[hidden])

    def test_masks_differ_and_depend_on_the_generator_alone(self) -> None:
        images, state = pictures(1).expand(8, -1, -1, -1), torch.random.get_rng_state()
        masked, alpha = FEW.put(images, seeded(1))
        assert len({one.numpy().tobytes() for one in masked}) == 8 == len({one.numpy().tobytes() for one in alpha})
        again, _ = MaskMaker(drawings=6).put(images, seeded(1))
        assert torch.equal(masked, again)
        assert torch.equal(torch.random.get_rng_state(), state)

    @given(st.integers(1, 4))
    @settings(max_examples=3)
    def test_how_a_batch_is_split_does_not_matter(self, cut: int) -> None:
        images, whole, parts = pictures(5, 48), seeded(2), seeded(2)
        masked, alpha = FEW.put(images, whole)
        split = [FEW.put(part, parts) for part in (images[:cut], images[cut:])]
        assert torch.equal(masked, torch.cat([one for one, _ in split]))
        assert torch.equal(alpha, torch.cat([one for _, one in split]))

    def test_no_picture_no_mask(self) -> None:
        masked, alpha = FEW.put(pictures(0), seeded())
        assert masked.shape == (0, 3, 112, 112) and alpha.shape == (0, 1, 112, 112)


class TestWhereItSits:
    @pytest.mark.parametrize("side", [112, 160])
    def test_on_the_six_points_of_an_aligned_crop(self, folder: Path, side: int) -> None:
        maker = MaskMaker(folder, kinds=("cup",), **PLAIN)  # type: ignore[arg-type]
        masked, _ = maker.put(torch.zeros(1, 3, side, side), seeded())
        # The chin's dot is cut off by the edge of the crop.
        expected = aligned_points(side)[[0, 1, 2, 3, 5]]
        assert np.abs(dots(masked[0], expected) - expected).max() < 0.25

    def test_on_the_points_of_68_landmarks_with_the_view_they_show(self, folder: Path) -> None:
        maker = MaskMaker(folder, kinds=("cup",), **PLAIN)  # type: ignore[arg-type]
        faces = [landmarks_of_a_face(nose) for nose in (0, -6, 6)]
        masked, _ = maker.put(torch.zeros(3, 3, 128, 128), seeded(), landmarks=np.stack(faces))
        for image, one, channel in zip(masked, faces, (2, 1, 0), strict=True):
            points, _ = points_of_68(one)
            # Six points of another shape cannot all be met; which are met how well is tested with the homography.
            template = np.array([DOTS[name] for name in "abcfed"], float)
            target = project(homography(template, points), template)
            assert np.abs(dots(image, target) - target).max() < 0.8
            assert np.linalg.norm(target - points, axis=1).max() < 7
            middle = image[:, 80, 50]
            assert int(middle.argmax()) == channel and float(middle.max()) == pytest.approx(200 / 255, abs=0.02)

    def test_a_face_without_landmarks_is_masked_like_others(self, folder: Path) -> None:
        maker = MaskMaker(folder, **PLAIN)  # type: ignore[arg-type]
        images = torch.zeros(2, 3, 112, 112)
        missing = np.stack([landmarks_of_a_face(), np.full((68, 2), np.nan)])
        with_, _ = maker.put(images, seeded(3), landmarks=missing)
        without, _ = maker.put(images, seeded(3))
        assert torch.equal(with_[1], without[1]) and not torch.equal(with_[0], without[0])

    def test_jitter_and_lift_move_it_within_their_size(self) -> None:
        def heights(**changes: float) -> np.ndarray:
            maker = MaskMaker(drawings=1, follow=False, recolour=0, **{"jitter": 0.0, "lift": 0.0, **changes})  # type: ignore[arg-type]
            _, alpha = maker.put(torch.zeros(40, 3, 112, 112), seeded())
            return np.array([int((one[0, :, 56] > 0.5).int().argmax()) for one in alpha])

        assert np.ptp(heights()) == 0
        lifted = heights(lift=8.0)
        assert 10 <= np.ptp(lifted) <= 17
        assert 0.5 < heights(jitter=2.5).std() < 4

    def test_what_lies_beyond_the_horizon_is_not_drawn(self) -> None:
        # The lower edge of the picture is stretched to far below, so the horizon crosses the crop.
        corners = np.array([[0.0, 0], [9, 0], [9, 9], [0, 9]])
        tilted = homography(corners, np.array([[20.0, 60], [44, 60], [200, 20], [-136, 20]]))
        seen = warped(torch.ones(4, 10, 10), tilted, 64)[3]
        assert 0 < seen.mean() < 1
        assert float(seen[62:].max()) == 0  # below its upper edge
        assert float(seen[45, 25:40].min()) == 1


class TestItsColour:
    def test_light_and_saturation_follow_the_face(self) -> None:
        maker = MaskMaker(drawings=5, recolour=0.0)
        light, alpha = maker.put(torch.full((10, 3, 112, 112), 0.9), seeded(4))
        dark, _ = maker.put(torch.full((10, 3, 112, 112), 0.15), seeded(4))
        inside = alpha > 0.99
        assert (light.amax(1, keepdim=True)[inside].mean() - dark.amax(1, keepdim=True)[inside].mean()) > 0.3

    def test_they_follow_by_one_plus_the_difference_of_means(self) -> None:
        face = torch.zeros(3, 4, 4) + torch.tensor([0.5, 0.4, 0.3])[:, None, None]
        grey = torch.cat([torch.full((3, 4, 4), 0.8), torch.ones(1, 4, 4)])
        grey[:, :2] *= 0.5  # half opaque, the same colour
        lit = lit_like(grey, face)
        assert torch.equal(lit[3], grey[3])
        torch.testing.assert_close(lit[:3] / lit[3], torch.full((3, 4, 4), 0.8 * (1 + 0.5 - 0.8)))
        strong = torch.tensor([0.6, 0.3, 0.3, 1.0])[:, None, None].expand(4, 4, 4)
        hue, saturation, _ = colorsys.rgb_to_hsv(*lit_like(strong, face)[:3, 0, 0].tolist())
        assert hue == pytest.approx(0) and 0.3 < saturation < 0.5  # the face's 0.4 is below the mask's 0.5
        assert torch.equal(lit_like(torch.zeros(4, 4, 4), face), torch.zeros(4, 4, 4))

    def test_another_colour_keeps_light_and_shade(self) -> None:
        opacity = torch.tensor([1.0, 1.0, 0.5, 0.0])[None]
        shade = torch.tensor([0.4, 0.6, 0.5, 0.0])[None]
        picture = torch.stack([shade * opacity] * 3 + [opacity])
        again = recoloured(picture, torch.tensor([0.8, 0.4, 0.0])[:, None, None])
        assert torch.equal(again[3], opacity)
        assert (again[0] / opacity)[0, :3].tolist() == pytest.approx([0.64, 0.96, 0.8])
        torch.testing.assert_close(again[1], again[0] / 2)
        assert float(again[2].max()) == 0 == float(again[:, 0, 3].max())

    def test_shares_of_colours_and_patterns(self, folder: Path) -> None:
        (folder / "textures" / "plain").mkdir(parents=True)
        Image.new("RGB", (8, 8), (255, 0, 255)).save(folder / "textures" / "plain" / "pink.png")
        maker = MaskMaker(folder, kinds=("cup",), recolour=0.5, patterned=0.5, follow=False, jitter=0, lift=0)
        masked, _ = maker.put(torch.zeros(80, 3, 32, 32), seeded())
        middle = masked[:, :, 24, 16]
        left_alone = ((middle - torch.tensor([0, 0, 200 / 255])).abs().amax(1) < 0.05).float().mean()
        pink = (
            ((middle[:, 1] < 0.02) & ((middle[:, 0] - middle[:, 2]).abs() < 0.02) & (middle[:, 0] > 0.3)).float().mean()
        )
        assert left_alone.item() == pytest.approx(0.25, abs=0.15) and pink.item() == pytest.approx(0.25, abs=0.15)

    def test_only_the_kinds_that_are_named(self, folder: Path) -> None:
        for kind, brightest in (("cup", 200), ("hat", 9)):
            masked, _ = MaskMaker(folder, kinds=(kind,), **PLAIN).put(torch.zeros(6, 3, 64, 64), seeded())  # type: ignore[arg-type]
            assert (masked[:, :, 48, 32].amax(1) * 255).round().tolist() == [brightest] * 6


def test_drawn_masks_are_of_every_kind_and_each_its_own() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_mask(rng, 80) for _ in range(20)]
    assert {one.kind for one in drawn} == set(KINDS)
    assert len({one.picture.numpy().tobytes() for one in drawn}) == 20
    for one in drawn:
        colour, opacity = one.picture[:3], one.picture[3]
        assert (colour <= opacity + 1e-6).all() and opacity.max() == 1
        # The six points are on the mask's rim, and its middle is covered.
        across, down = one.points.mean(0).round().astype(int)
        assert opacity[down, across] == 1
        for x, y in one.points.round().astype(int):
            near = opacity[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]
            assert near.max() == 1 and near.min() < 1
        # Cloth has a grain and folds: it is no plain colour.
        assert colour[:, opacity == 1].std(1).max() > 0.01


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 3, 16, 16), "before they are made smaller"),
        (torch.zeros(1, 3, 64, 48), "square"),
        (torch.zeros(1, 1, 64, 64), "1 channels"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "divide bytes"),
        (torch.full((1, 3, 64, 64), 128.0), "outside"),
    ],
)
def test_pictures_that_cannot_be_masked_are_refused(images: torch.Tensor, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        FEW.put(images, seeded())


def test_landmarks_of_another_shape_are_refused() -> None:
    with pytest.raises(BadInput, match="68 points"):
        FEW.put(pictures(2), seeded(), landmarks=np.zeros((2, 5, 2)))


@pytest.mark.parametrize(
    "settings_", [{"recolour": 1.5}, {"patterned": -1}, {"jitter": np.nan}, {"lift": 50}, {"drawings": 0}]
)
def test_settings_out_of_range_are_refused(settings_: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        MaskMaker(**settings_)


def test_kinds_that_are_not_there_are_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(BadInput, match="there are cup, hat"):
        MaskMaker(folder, kinds=("surgical",)).put(pictures(1), seeded())
    with pytest.raises(BadInput, match=r"masks\.cfg"):
        MaskMaker(folder / "none").put(pictures(1), seeded())


@pytest.mark.shared_data
def test_masktheface_templates_are_read_and_put_on(shared_data: Path) -> None:
    maker = MaskMaker(shared_data / "faces" / "mask_templates", kinds=("surgical", "KN95", "cloth", "N95"))
    masked, alpha = maker.put(pictures(12), seeded())
    covered = alpha.mean((1, 2, 3))
    assert covered.min() > 0.1 and covered.max() < 0.45
    assert (alpha[:, 0, 85, 45:67] > 0.95).all() and float(alpha[:, 0, :40].max()) == 0
    assert torch.equal(masked[:, :, :40], pictures(12)[:, :, :40])
