"""Reference figures and exact probabilities shared by the tests of this folder."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures" / "privacy"


@pytest.fixture(scope="session")
def reference():
    """{"pate": {...}, "accounting": {...}}: published outputs, see tests/fixtures/privacy/README.md."""
    with gzip.open(FIXTURES / "reference_cases.json.gz") as file:
        return json.load(file)


@pytest.fixture(scope="session")
def votes():
    """The authors' vote counts by name of the file that the reference cases give."""
    return {
        "mnist_250_teachers.npy": np.load(FIXTURES / "votes_mnist.npz")["counts"].astype(np.int64),
        "adult_250_teachers.npy": np.load(FIXTURES / "votes_adult.npz")["counts"].astype(np.int64),
    }


@pytest.fixture(scope="session")
def agree():
    """Compare numbers, lists and the strings that stand for infinities, by the tolerance the reference file states."""

    def check(ours, theirs, rtol=1e-9, atol=1e-300):
        np.testing.assert_allclose(
            np.asarray(ours, dtype=float).ravel(), np.asarray(theirs, dtype=float).ravel(), rtol=rtol, atol=atol
        )

    return check
