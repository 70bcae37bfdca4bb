from __future__ import annotations

import pytest
import torch
from stillhouse.methods.noisy_labels.multilabel.memory import BestWeights, Looks, label_losses
from stillhouse.methods.noisy_labels.multilabel.selection import scaled_losses
from torch import nn


def test_the_best_epoch_is_kept_and_the_first_of_equals() -> None:
    network, best = nn.Linear(1, 1), BestWeights()
    for value, score in ((1.0, 0.3), (2.0, 0.5), (3.0, 0.5), (4.0, 0.1)):
        nn.init.constant_(network.weight, value)
        best.offer(score, network)
    assert (best.epoch, best.seen, best.score) == (2, 4, 0.5)
    assert float(best.weights["weight"]) == 2.0  # a copy, not the network's own
    other = BestWeights()
    other.load_state_dict(best.state_dict())
    other.offer(0.4, network)
    assert (other.epoch, other.seen) == (2, 5)


def test_losses_are_averaged_over_the_window_and_posteriors_are_each_classes_best() -> None:
    labels = torch.tensor([[0, 1], [0, 0], [1, 1], [1, 0]], dtype=torch.uint8)
    looks = Looks(labels, first=2, last=3)
    epochs = [torch.rand(4, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    for posterior, losses in zip(epochs, ([0.9, 0.2], [0.5, 0.3], [0.6, 0.1], [0.7, 0.4]), strict=True):
        looks.look(posterior, torch.tensor(losses))
    scaled = [torch.from_numpy(scaled_losses(label_losses(p, labels).numpy(), labels.numpy())) for p in epochs[1:3]]
    torch.testing.assert_close(looks.losses, (scaled[0] + scaled[1]) / 2)
    assert torch.equal(looks.posterior[:, 0], epochs[1][:, 0])
    assert torch.equal(looks.posterior[:, 1], epochs[2][:, 1])
    other = Looks(labels, first=2, last=3)
    other.load_state_dict(looks.state_dict())
    assert torch.equal(other.losses, looks.losses)
    assert other.epoch == 4


def test_losses_of_certain_and_wrong_probabilities_are_finite() -> None:
    found = label_losses(torch.tensor([[0.0, 1.0]]), torch.tensor([[1, 0]]))
    assert found[0].tolist() == pytest.approx([100.0, 100.0])
