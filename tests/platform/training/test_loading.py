import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.loading import GlobalBatches, make_loader
from stillhouse.platform.training.world import World


def batches(size, batch_size, rank, world_size, shuffle=True):
    generator = torch.Generator().manual_seed(4)
    return list(GlobalBatches(size, batch_size, shuffle=shuffle, generator=generator, world=World(rank, world_size)))


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4))
def test_processes_share_every_batch_of_the_one_process_order(size, batch_size, world_size):
    if batch_size < world_size or size < world_size:
        with pytest.raises(BadInput):
            batches(size, batch_size, 0, world_size)
        return
    alone = batches(size, batch_size, 0, 1)
    parts = [batches(size, batch_size, rank, world_size) for rank in range(world_size)]
    assert sorted(index for batch in alone for index in batch) == list(range(size))
    for number, whole in enumerate(alone):
        shares = [part[number] for part in parts]
        assert len({len(share) for share in shares}) == 1
        together = [index for row in zip(*shares, strict=True) for index in row]
        assert together[: len(whole)] == whole and len(together) - len(whole) < world_size


@pytest.mark.parametrize("form", [lambda x, y: (x, y), lambda x, y: torch.utils.data.TensorDataset(x, y)])
def test_tensors_come_in_whole_batches(form):
    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
    loader = make_loader(form(x, y), 4, shuffle=False, generator=torch.Generator(), world=World())
    got = list(loader)
    assert [len(batch[0]) for batch in got] == [4, 4, 2] and len(loader) == 3
    assert torch.equal(torch.cat([batch[0] for batch in got]), x)


def test_any_data_set_that_counts_and_indexes_will_do():
    data = [(torch.tensor([float(i)]), i) for i in range(6)]
    loader = make_loader(data, 3, shuffle=True, generator=torch.Generator(), world=World())
    assert sorted(int(i) for _, labels in loader for i in labels) == list(range(6))
