import pytest
import torch
from stillhouse.platform.training import checkpoints as module
from stillhouse.platform.training.checkpoints import Checkpoints


@pytest.fixture
def said():
    return []


@pytest.fixture
def kept(tmp_path, said):
    return Checkpoints(tmp_path / "main", say=said.append)


def state(step):
    return {"step": step, "weights": torch.full((1000,), float(step))}


def flip_a_byte(path, where=-17):
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(bytes(content))


def test_nothing_kept_is_none(kept):
    assert kept.load() is None


def test_the_last_two_are_kept(kept):
    for step in (1, 2, 3):
        kept.save(state(step))
    assert kept.load()["step"] == 3
    assert len(list(kept.folder.iterdir())) == 2


def test_what_another_process_removed_meanwhile_is_not_missed(kept, monkeypatch):
    kept.save(state(1))
    kept.save(state(2))
    seen = kept._files()
    Checkpoints(kept.folder).save(state(3))
    monkeypatch.setattr(kept, "_files", lambda: seen)
    kept.save(state(4))
    monkeypatch.undo()
    assert kept.load()["step"] in (3, 4)  # both have the number 3


@pytest.mark.parametrize("where", [-17, 3, 40])
def test_a_flipped_byte_falls_back_to_the_one_before_and_says_so(kept, said, where):
    kept.save(state(1))
    flip_a_byte(kept.save(state(2)), where)
    assert kept.load()["step"] == 1
    assert "checkpoint 2" in said[0] and "damaged" in said[0]


def test_a_torn_file_falls_back(kept, said):
    kept.save(state(1))
    path = kept.save(state(2))
    path.write_bytes(path.read_bytes()[:100])
    assert kept.load()["step"] == 1 and said


def test_after_a_fall_back_the_good_one_is_not_pushed_out_by_the_damaged_one(kept):
    kept.save(state(1))
    flip_a_byte(kept.save(state(2)))
    kept.load()
    flip_a_byte(kept.save(state(3)))
    assert kept.load()["step"] == 1


def test_all_damaged_is_none_and_says_so_for_each(kept, said):
    flip_a_byte(kept.save(state(1)))
    flip_a_byte(kept.save(state(2)))
    assert kept.load() is None and len(said) == 2


def test_a_crash_before_the_rename_leaves_the_old_one_and_no_litter(kept, monkeypatch):
    kept.save(state(1))

    def crash(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "sha256_of", crash)
    with pytest.raises(OSError, match="No space"):
        kept.save(state(2))
    monkeypatch.undo()
    assert kept.load()["step"] == 1
    assert len(list(kept.folder.iterdir())) == 1
