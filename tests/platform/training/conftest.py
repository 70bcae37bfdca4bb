import pytest
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun


class Listener(Silent):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def run(tmp_path, listener):
    return LocalRun(tmp_path / "run", seed=3, reporter=listener)


@pytest.fixture
def start(tmp_path):
    """Start the run in the same folder once more; gives the run and its listener."""

    def again(seed=3, name="run"):
        said = Listener()
        return LocalRun(tmp_path / name, seed=seed, reporter=said), said

    return again
