"""A client's training: SGD on its own records from given weights; one client with all records is central training."""

from __future__ import annotations

import pytest
import torch
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.dpsgd import put_weights, trainable
from stillhouse.platform.training.fedavg import FedAvg, federate
from stillhouse.platform.training.local_sgd import LocalSgd
from stillhouse.platform.training.seeds import seed_for
from torch import nn
from torch.nn import functional as F


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def records(n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (n,), generator=generator)
    return torch.eye(5)[labels] + 0.3 * torch.randn(n, 5, generator=generator), labels


def vector(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def test_one_client_with_all_records_is_central_sgd() -> None:
    """Rounds of an epoch each, against the loop of torch's tutorial: the same batches, the same steps, the same weights."""
    inputs, labels = records()
    settings = LocalSgd(epochs=1, batch_size=16, learning_rate=0.2)
    central = model()
    optimizer = torch.optim.SGD(central.parameters(), 0.2)
    central.train()
    for number in range(1, 6):
        torch.manual_seed(seed_for(7, number))
        for batch in torch.randperm(len(labels)).split(16):
            optimizer.zero_grad()
            F.cross_entropy(central(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    place = model()

    def client(weights: torch.Tensor, number: int) -> torch.Tensor:
        return settings.update(place, inputs, labels, weights, seed=seed_for(7, number))

    found = federate(vector(model()), [client], FedAvg(rounds=5), noise_multiplier=None)
    torch.testing.assert_close(found.float(), vector(central), rtol=1e-4, atol=1e-5)
    assert (found.float() - vector(model())).norm() > 0.5


def test_an_update_depends_on_weights_records_and_seed_and_on_nothing_else() -> None:
    inputs, labels = records()
    settings, start, place = LocalSgd(epochs=2), vector(model()), model()
    torch.manual_seed(3)
    first = settings.update(place, inputs, labels, start, seed=1)
    settings.update(place, inputs + 1, labels, start + 1, seed=2)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    assert torch.equal(settings.update(place, inputs, labels, start, seed=1), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(settings.update(place, inputs, labels, start, seed=5), first)
    assert torch.equal(start, vector(model()))


def test_a_client_without_records_goes_nowhere() -> None:
    start = vector(model())
    update = LocalSgd().update(model(), torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), start, seed=0)
    assert torch.equal(update, torch.zeros_like(start))


def test_frozen_parameters_are_no_part_of_it() -> None:
    net = model()
    net[0].requires_grad_(False)
    inputs, labels = records()
    start = nn.utils.parameters_to_vector(trainable(net)).detach().clone()
    frozen = net[0].weight.clone()
    update = LocalSgd(epochs=3).update(net, inputs, labels, start, seed=0)
    assert update.shape == (27,) and bool(update.any()) and torch.equal(net[0].weight, frozen)
    put_weights(trainable(net), start)
    assert torch.equal(nn.utils.parameters_to_vector(trainable(net)), start)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}], ids=str
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        LocalSgd(**wrong)  # type: ignore[arg-type]
