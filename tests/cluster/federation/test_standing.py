"""How a relay stands, as whoever started it reads it: its state, or the very error that ended it."""

from __future__ import annotations

from pathlib import Path

import pytest
from stillhouse.cluster.federation.standing import FAILED, TRAINING, VOTING, Standing, read_standing
from stillhouse.platform.errors import NotAuthorised, RunFailed, StillhouseError


def test_nothing_told_yet(tmp_path: Path) -> None:
    assert read_standing(tmp_path / "state.json") == {}
    Standing(None).tell(TRAINING)  # to nobody


def test_what_is_told_is_read(tmp_path: Path) -> None:
    standing = Standing(tmp_path / "state.json")
    standing.tell(TRAINING, ready=2, lost=["BadInput"])
    told = read_standing(tmp_path / "state.json")
    assert (told["state"], told["ready"], told["lost"]) == (TRAINING, 2, ["BadInput"])
    standing.silos, standing.trained, standing.reused = ["a", "b", "c"], 1, 2
    standing.tell(VOTING)
    told = read_standing(tmp_path / "state.json")
    assert (told["state"], told["ready"], told["silos"], told["trained"]) == (VOTING, 3, ["a", "b", "c"], 1)


class Foreign(StillhouseError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"), [(NotAuthorised, NotAuthorised), (Foreign, RunFailed)], ids=["ours", "other"]
)
def test_an_error_comes_back_with_its_exit_code(tmp_path: Path, error: type[StillhouseError], kind: type) -> None:
    Standing(tmp_path / "state.json").tell(FAILED, error=error("what", why="why", mend="mend"))
    with pytest.raises(kind, match="what: why") as caught:
        read_standing(tmp_path / "state.json")
    assert type(caught.value) is kind
