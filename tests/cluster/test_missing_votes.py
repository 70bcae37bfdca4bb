"""What a run's report says about votes that were missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from stillhouse.cluster.missing_votes import FILE, MissingVotes
from stillhouse.platform.privacy.mechanisms import GNMax


def batch(number: int) -> np.ndarray:
    return np.full((4, 1, 2, 2), number, np.uint8)


def test_each_number_of_votes_has_a_line_and_a_question_counts_once(tmp_path: Path) -> None:
    missing = MissingVotes(tmp_path, "e", 5)
    missing.note(batch(0), GNMax(sigma=2), [4, 4, 4, 4])
    missing.note(batch(0), GNMax(sigma=2), [4, 4, 4, 4])  # asked again by a second start
    missing.note(batch(1), GNMax(sigma=2), [3, 3, 4, 5])
    lines = missing.told(GNMax(sigma=2))
    assert [line.split(";")[0] for line in lines] == [
        "2 queries were decided by the votes of 3 of 5 silos", "5 queries were decided by the votes of 4 of 5 silos",
    ]  # fmt: skip


def test_nothing_is_said_where_nobody_is_missing(tmp_path: Path) -> None:
    missing = MissingVotes(tmp_path, "e", 5)
    missing.note(batch(0), GNMax(sigma=2), [5, 5, 0, 0])  # 0: from the store
    assert missing.told(GNMax(sigma=2)) == () and not (tmp_path / FILE).exists()


def test_questions_of_other_settings_in_the_same_folder_are_not_told(tmp_path: Path) -> None:
    MissingVotes(tmp_path, "e", 5).note(batch(0), GNMax(sigma=2), [4] * 4)
    assert MissingVotes(tmp_path, "other", 5).told(GNMax(sigma=2)) == ()
    assert MissingVotes(tmp_path, "e", 5).told(GNMax(sigma=3)) == ()
