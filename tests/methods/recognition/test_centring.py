"""A teacher less the mean of its embeddings: an offset that all of them share makes no difference to what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from stillhouse.methods.recognition.heads import Margin
from stillhouse.methods.recognition.learning import CachedViews, LiveViews
from stillhouse.methods.recognition.preparing import Prepared, prepare_teacher
from stillhouse.methods.recognition.teacher import CentredTeacher, TeacherSettings
from stillhouse.methods.recognition.terms import Terms
from stillhouse.platform.errors import BadInput

from .few_faces import SIDE, SMALL, few_faces, silent_run

TRAIN = few_faces().train
KD = Terms(kd=0.5)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A teacher's weights, and the same with an offset on every embedding that is longer than they are."""
    network = SMALL.fresh(side=SIDE, channels=3, seed=4).eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folder = tmp_path_factory.mktemp("teachers")
    save_file(state, folder / "plain.safetensors")
    last = [name for name in state if name.startswith("neck") and name.endswith("bias")][-1]
    state[last] = state[last] + 5.0
    save_file(state, folder / "moved.safetensors")
    return folder / "plain.safetensors", folder / "moved.safetensors"


def prepared(folder: Path, teacher: Path, terms: Terms = KD, *, looked_at: bool = False, **settings: Any) -> Prepared:
    own = TeacherSettings(source="checkpoint", path=str(teacher), network=SMALL, check=0, head_steps=30, **settings)
    return prepare_teacher(
        silent_run(folder / "run"), own, terms, Margin(), TRAIN.pictures, TRAIN.identities, classes=TRAIN.people, identity="x",
        looked_at=looked_at,
    )  # fmt: skip


def shown(one: Prepared) -> torch.Tensor:
    assert isinstance(one.views, CachedViews)
    numbers = torch.arange(len(TRAIN))
    return torch.stack([one.views._embeddings[numbers, side] for side in (0, 1)], 1)


def test_an_offset_of_all_embeddings_is_gone(teachers: tuple[Path, Path], tmp_path: Path) -> None:
    plain, moved = (prepared(tmp_path / path.stem, path, centre=True) for path in teachers)
    assert shown(plain).mean((0, 1)).abs().max() < 1e-5
    assert torch.allclose(shown(plain), shown(moved), atol=1e-4)
    left = prepared(tmp_path / "left", teachers[1])
    assert shown(left).mean((0, 1)).norm() > 10 * shown(plain).std()
    # The classifier is fitted to what is shown, so it is the same as well.
    assert plain.head is not None and moved.head is not None
    for one, other in zip(plain.head.parameters(), moved.head.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-2)


def test_the_reference_stays_as_it_is_and_terms_see_the_centred_one(
    teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    found = prepared(tmp_path, teachers[1], Terms(sp=1.0), centre=True)
    pictures = torch.from_numpy(TRAIN.read(range(4))).float() / 255
    assert isinstance(found.views, LiveViews) and isinstance(found.shown, CentredTeacher)
    plain, centred = found.teacher(pictures), found.shown(pictures)
    assert torch.allclose(plain.embedding - found.shown.centre, centred.embedding)
    assert all(torch.equal(one, other) for one, other in zip(plain.maps, centred.maps, strict=True))
    assert any("less their mean" in note for note in found.notes)
    assert found.identity != prepared(tmp_path / "other", teachers[1], Terms(sp=1.0)).identity


def test_nothing_is_centred_where_nobody_looks(teachers: tuple[Path, Path], tmp_path: Path) -> None:
    alone = prepared(tmp_path, teachers[1], Terms(), centre=True)
    assert alone.shown is alone.teacher and not (tmp_path / "shared").exists()
    looked = prepared(tmp_path, teachers[1], Terms(), centre=True, looked_at=True)
    assert isinstance(looked.shown, CentredTeacher)


def test_settings_of_the_centre() -> None:
    assert TeacherSettings(source="dlib").centred and not TeacherSettings().centred
    assert not TeacherSettings(source="dlib", centre=False).centred
    with pytest.raises(BadInput, match="trained here"):
        TeacherSettings(centre=True)
