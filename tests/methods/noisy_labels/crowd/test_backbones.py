"""Networks for features and images: shapes, standardisation, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, build
from stillhouse.methods.noisy_labels.crowd.predicting import joint_probabilities, log_probabilities
from stillhouse.platform.errors import BadInput

DRAW = np.random.default_rng(0)
FEATURES = (3 + 2 * DRAW.normal(size=(600, 7))).astype(np.float32)
IMAGES = DRAW.integers(0, 256, (40, 3, 12, 12)).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        ("auto", FEATURES),
        ("mlp", FEATURES),
        ("auto", IMAGES),
        ("cnn", IMAGES),
        ("resnet18", IMAGES),
        ("resnet34", IMAGES),
    ],
)
def test_logits_come_through_the_last_layer(kind: str, items: np.ndarray) -> None:
    torch.manual_seed(0)
    network = build(Backbone(kind), items, 5).eval()
    batch = torch.from_numpy(items[:4])
    features = network.features(batch)
    assert features.shape == (4, network.last.in_features)
    torch.testing.assert_close(network(batch), network.last(features))
    assert network(batch).shape == (4, 5)


def test_images_are_standardised_by_channel_and_features_where_asked() -> None:
    seen = build(Backbone(), IMAGES, 2).standardised(torch.from_numpy(IMAGES))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    rows = torch.from_numpy(FEATURES)
    assert torch.equal(build(Backbone(), FEATURES, 2).standardised(rows), rows)
    seen = build(Backbone(standardise=True), FEATURES, 2).standardised(rows)
    torch.testing.assert_close(seen.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(7), atol=1e-3, rtol=0)


def test_a_feature_that_never_changes_does_not_divide_by_zero() -> None:
    constant = np.ones((5, 2), np.float32)
    assert torch.isfinite(build(Backbone(standardise=True), constant, 2)(torch.from_numpy(constant))).all()


def test_a_stem_without_padding_sees_two_pixels_less() -> None:
    sizes = []
    for padding in (0, 1):
        network = build(Backbone("resnet18", stem_padding=padding), IMAGES, 2)
        sizes.append(network.body.conv1(torch.zeros(1, 3, 12, 12)).shape[-1])  # type: ignore[union-attr, operator]
    assert sizes == [10, 12]


@pytest.mark.parametrize(
    ("change", "items"),
    [({"kind": "cnn"}, FEATURES), ({"kind": "resnet18"}, FEATURES), ({"kind": "mlp"}, IMAGES), ({}, IMAGES[..., :3])],
)
def test_what_does_not_fit_is_refused(change: dict[str, str], items: np.ndarray) -> None:
    with pytest.raises(BadInput):
        build(Backbone(**change), items, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "padding", "refused"), [((8, 8), 1, True), ((9, 9), 1, False), ((10, 10), 0, True), ((5, 9), 1, False)]
)
def test_a_resnet_learns_from_one_small_image_only_in_company(
    side: tuple[int, int], padding: int, refused: bool
) -> None:
    """Its last map has one pixel, and of a single number there is no deviation."""
    images = DRAW.integers(0, 256, (2, 3, *side)).astype(np.uint8)
    network = build(Backbone("resnet18", stem_padding=padding), images, 2).train()
    both = torch.from_numpy(images)
    assert network(both).shape == (2, 2)
    if refused:
        with pytest.raises(BadInput, match=r"method\.batch_size"):
            network(both[:1])
    else:
        assert network(both[:1]).shape == (1, 2)
    assert network.eval()(both[:1]).shape == (1, 2)


def test_predictions_leave_the_mode_and_do_not_depend_on_the_piece() -> None:
    torch.manual_seed(0)
    network = build(Backbone(), FEATURES, 3).train()
    found = log_probabilities(network, torch.from_numpy(FEATURES))
    assert network.training
    assert found.shape == (600, 3)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(600))
    torch.testing.assert_close(found[550:], log_probabilities(network, torch.from_numpy(FEATURES[550:])))


def test_models_are_taken_together_by_their_probabilities() -> None:
    torch.manual_seed(0)
    networks = [build(Backbone(), FEATURES, 3).eval() for _ in range(2)]
    rows = torch.from_numpy(FEATURES[:9])
    wanted = (torch.softmax(networks[0](rows), 1) + torch.softmax(networks[1](rows), 1)) / 2
    torch.testing.assert_close(joint_probabilities(networks, rows), wanted)
