"""Contact sheets: which rows, which frames."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.platform.data.forgery_sheet import TITLE, contact_sheet
from stillhouse.platform.data.videos import InMemoryTracks, VideoSet
from stillhouse.platform.errors import BadInput


def a_set() -> VideoSet:
    """Two real tracks; two families of the second, one of the first. A frame's only colour is 10 times its track plus its number."""
    videos = [
        np.full((6, 3, 8, 8), 10 * n, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None] for n in range(5)
    ]
    return VideoSet(
        InMemoryTracks(videos), np.array([False, False, True, True, True]), np.arange(5),
        ("real", "real", "SBI", "FS", "SBI"), ("a", "b", "a.SBI", "b.FS", "b.SBI"), np.array([-1, -1, 0, 1, 1]),
    )  # fmt: skip


def test_rows_are_the_real_track_and_what_was_made_from_it() -> None:
    sheet = contact_sheet(a_set(), frames=3, start=2)
    assert sheet.shape == (3 * (8 + TITLE), 3 * 8, 3) and sheet.dtype == np.uint8
    rows = [sheet[(8 + TITLE) * row + TITLE + 4, 4::8, 0].tolist() for row in range(3)]
    # The second real track, which most families were made from, then FS and SBI.
    assert rows == [[12, 13, 14], [32, 33, 34], [42, 43, 44]]
    assert contact_sheet(a_set(), frames=2, source=0)[-4:, 4::8, 0].tolist() == [[20, 21]] * 4


def test_titles_are_written() -> None:
    sheet = contact_sheet(a_set(), frames=6)
    assert (sheet[:TITLE].min((0, 2)) < 128).sum() > 5


@pytest.mark.parametrize("wrong", [{"source": 2}, {"source": 9}, {"start": 4, "frames": 3}])
def test_impossible_sheets_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput):
        contact_sheet(a_set(), **wrong)
    with pytest.raises(BadInput, match="without real"):
        contact_sheet(a_set().take([2, 3]))
