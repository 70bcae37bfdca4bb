import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.nn.scattering import Scattering2D
from stillhouse.platform.silo.scatter_ridge import ScatterRidge, features, ridge


@pytest.mark.parametrize(("rows", "columns"), [(20, 50), (50, 20), (30, 30)])
def test_the_solution_is_scikit_learns(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(rows, columns)), rng.normal(size=(rows, 4))
    theirs = Ridge(alpha=3.0, fit_intercept=False).fit(inputs, targets).coef_.T
    ours = ridge(torch.from_numpy(inputs), torch.from_numpy(targets), 3.0)
    assert np.allclose(ours.numpy(), theirs, atol=1e-9)


def test_a_teacher_is_a_ridge_on_standardised_features(shards: list[ImageData], queries: np.ndarray) -> None:
    kind, shard = ScatterRidge(), shards[0]
    teachers = kind.fit([shard], [0])
    transform = Scattering2D(shard.shape)
    found = features(transform, shard.images).double().numpy()
    mean, spread = found.mean(0), found.std(0) + kind.floor
    targets = np.where(np.arange(10) == shard.labels[:, None], 1.0, -1.0)
    oracle = Ridge(alpha=kind.penalty).fit((found - mean) / spread, targets)
    scores = oracle.predict((features(transform, queries).double().numpy() - mean) / spread)
    clear = np.sort(scores, 1)[:, -1] - np.sort(scores, 1)[:, -2] > 1e-3
    assert clear.mean() > 0.9
    assert np.array_equal(teachers.vote(queries)[0][clear], scores.argmax(1)[clear])


def test_a_blank_shard_does_not_break_it() -> None:
    blank = ImageData(np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 1, 1]), 2, "blank")
    teachers = ScatterRidge().fit([blank], [0])
    assert all(torch.isfinite(v).all() for v in teachers.state(0).values())
    assert teachers.vote(blank.images).tolist() == [[1, 1, 1, 1]]
    assert teachers.vote(blank.images[:0]).shape == (1, 0)
