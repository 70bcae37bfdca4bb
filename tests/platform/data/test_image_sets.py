"""Images by name: a draw of the private records, whole score sets, and what is refused."""

import numpy as np
import pytest
from stillhouse.platform.data.image_sets import ImageSet
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput


def _rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_fewer_records_are_drawn_by_the_seed_and_leave_the_other_parts_alone() -> None:
    whole = load("digits")
    first, again, other = (ImageSet(records=300).load(seed=seed, key=b"") for seed in (0, 0, 1))

    assert len(first.private) == 300
    assert _rows(first.private.images) < _rows(whole.private.images)
    np.testing.assert_array_equal(first.private.images, again.private.images)
    assert not np.array_equal(first.private.images, other.private.images)
    for part in ("pool", "score"):
        assert getattr(first, part).content_hash() == getattr(whole, part).content_hash()


def test_kept_records_have_their_own_labels() -> None:
    whole = load("digits").private
    label_of = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    kept = ImageSet(records=300).load(seed=3, key=b"").private

    assert [label_of[image.tobytes()] for image in kept.images] == list(kept.labels)


def test_what_was_left_out_is_told_however_the_parts_are_cut() -> None:
    source = ImageSet(records=300, score="test").load(seed=0, key=b"")

    assert "300 of 1,000 private records" in source.protocol
    assert "300 of 1,000 private records" in source.about
    assert len(source.score) == 797


def test_all_records_are_what_the_protocol_has() -> None:
    assert ImageSet().load(seed=5, key=b"").content_hash() == load("digits").content_hash()


def test_more_records_than_there_are_is_refused() -> None:
    with pytest.raises(BadInput, match="1,001 images are wanted, but there are 1,000"):
        ImageSet(records=1001).load(seed=0, key=b"")


@pytest.mark.parametrize("records", [0, -3])
def test_a_number_of_records_that_is_none_is_refused(records: int) -> None:
    with pytest.raises(BadInput, match="records"):
        ImageSet(records=records)
