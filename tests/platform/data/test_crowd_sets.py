"""Kinds of crowd data: files joined by name, people hidden, layouts of published sets, and the shipped configurations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stillhouse.platform.data import sources
from stillhouse.platform.data.crowd import CrowdData
from stillhouse.platform.data.crowd_sets import CROWD_KINDS, Cifar10N, CrowdCsv, CrowdSynthetic, LabelMe, Music, shrunk
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.pseudonyms import pseudonyms
from stillhouse.platform.data.sources import Source
from stillhouse.platform.errors import BadInput

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
CONFIGS = Path(__file__).parents[3] / "configs" / "data"
PEOPLE = ("alice", "bob", "carol")
ANSWERS = ["a,alice,cat", "a,bob,cat", "b,alice,dog", "c,carol,cat", "t,bob,dog", "b,carol,cat"]
FEATURES = ["c,1,2", "a,3,2", "t,5,2", "b,5,2", "idle,9,9"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "answers.csv", "item,annotator,label", *ANSWERS)
    write(tmp_path, "features.csv", "item,f,g", *FEATURES)
    write(tmp_path, "test.csv", "item,label", "t,dog")
    write(tmp_path, "gold.csv", "item,label", "a,cat", "b,dog", "c,cat")
    return tmp_path


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(lines) + "\n")


def loaded(folder: Path, key: bytes = KEY, **settings: Any) -> CrowdData:
    return CrowdCsv(root=str(folder), **{"test": "test.csv", "gold": "gold.csv", **settings}).load(seed=0, key=key)


def said(data: CrowdData) -> set[tuple[str, str, str]]:
    """The answers by name: item, pseudonym, label."""
    given = zip(data.answers.items, data.answers.annotators, data.answers.labels, strict=True)
    return {(data.item_names[i], data.annotator_names[r], data.class_names[y]) for i, r, y in given}


def test_files_are_joined_by_name(folder: Path) -> None:
    data = loaded(folder, standardise=False)
    assert data.item_names == ("c", "a", "b") and data.class_names == ("cat", "dog")  # in the features' order
    assert data.inputs.tolist() == [[1, 2], [3, 2], [5, 2]] and data.test_inputs.tolist() == [[5, 2]]
    assert data.truth is not None and data.truth.tolist() == [0, 0, 1] and data.test_labels.tolist() == [1]
    hidden = dict(zip(PEOPLE, pseudonyms(PEOPLE, KEY), strict=True))
    expected = [line.split(",") for line in ANSWERS if not line.startswith("t,")]
    assert said(data) == {(item, hidden[who], label) for item, who, label in expected}
    assert "5 answers of 3 annotators about 3 training items; 1 test items" in data.protocol
    assert "1 answers about test items are left out. 1 items without an answer are left out." in data.protocol


def test_no_name_of_a_person_is_left_and_another_key_gives_other_pseudonyms(folder: Path) -> None:
    data = loaded(folder)
    assert not any(name in repr(data) + data.protocol + "".join(data.annotator_names) for name in PEOPLE)
    assert not set(data.annotator_names) & set(loaded(folder, OTHER).annotator_names)
    assert loaded(folder).content_hash() == data.content_hash()
    assert loaded(folder, b"").annotator_names == ("annotator 1", "annotator 2", "annotator 3")


def test_the_order_of_the_answers_in_the_file_does_not_matter(folder: Path) -> None:
    before = loaded(folder)
    write(folder, "answers.csv", "item,annotator,label", *ANSWERS[::-1])
    assert loaded(folder).content_hash() == before.content_hash()


def test_standardised_features_have_mean_0_and_deviation_1_over_training_items(folder: Path) -> None:
    data = loaded(folder)
    assert np.allclose(data.inputs[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5)) and not data.inputs[:, 1].any()
    assert np.allclose(data.test_inputs, [[np.sqrt(1.5), 0]]) and "standardised" in data.protocol


def test_without_test_part_and_gold_there_are_none(folder: Path) -> None:
    data = loaded(folder, test=None, gold=None)
    assert data.truth is None and data.test_inputs.shape == (0, 2) and data.test_labels.shape == (0,)
    assert len(data.answers) == 6 and "no test items" in data.protocol


def test_classes_can_be_named_more_than_were_chosen_and_fewer_are_refused(folder: Path) -> None:
    data = loaded(folder, classes=["dog", "mouse", "cat"])
    assert data.class_names == ("dog", "mouse", "cat") and data.answers.classes_nobody_chose().tolist() == [1]
    with pytest.raises(BadInput) as caught:
        loaded(folder, classes=["cat", "mouse"])
    assert "2 lines are wrong: line 4: the label is none of the classes; line 6: the label" in str(caught.value)
    with pytest.raises(BadInput, match="named twice"):
        loaded(folder, classes=["cat", "cat"])


def test_numbers_are_classes_in_the_order_of_their_values(folder: Path) -> None:
    write(folder, "answers.csv", "item,annotator,label", "a,x,10", "b,x,9", "c,y,2")
    assert loaded(folder, test=None, gold=None).class_names == ("2", "9", "10")


def test_a_crowd_that_agrees_on_everything_is_data_and_one_label_for_all_needs_named_classes(folder: Path) -> None:
    agreed = [f"{item},{who},{'cat' if item == 'a' else 'dog'}" for item in "abc" for who in PEOPLE]
    write(folder, "answers.csv", "item,annotator,label", *agreed)
    assert (loaded(folder, test=None, gold=None).answers.vote_counts().max(axis=1) == 3).all()
    write(folder, "answers.csv", "item,annotator,label", *(line.replace("dog", "cat") for line in agreed))
    with pytest.raises(BadInput, match="all labels are the same"):
        loaded(folder, test=None, gold=None)
    same = loaded(folder, test=None, gold=None, classes=("cat", "dog"))
    assert same.answers.classes_nobody_chose().tolist() == [1]


def test_files_that_do_not_fit_each_other_are_refused(folder: Path) -> None:
    write(folder, "gold.csv", "item,label", "a,cat")
    with pytest.raises(BadInput, match="lacks 2 of 3 training items"):
        loaded(folder)
    write(folder, "gold.csv", "item,label", "a,cat", "b,dog", "c,cat", "unheard,cat")
    with pytest.raises(BadInput, match=r"gold\.csv: 1 line is wrong: line 5: the item is not among the features"):
        loaded(folder)
    write(folder, "answers.csv", "item,annotator,label", "a,x,cat", "unheard,x,dog")
    with pytest.raises(BadInput, match=r"answers\.csv: 1 line is wrong: line 3: the item is not among the features"):
        loaded(folder, gold=None)
    write(folder, "answers.csv", "item,annotator,label", "t,x,cat")
    with pytest.raises(BadInput, match="every answer is about a test item"):
        loaded(folder, gold=None)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    header = "id,f0,f1,class"
    write(tmp_path, "music_genre_gold.csv", header, "rock.1.mp3,1,0.5,rock", "pop.1.mp3,2,0.25,pop")
    write(tmp_path, "music_genre_test.csv", header, "jazz.1.mp3,3,0.5,jazz")
    answers = ["rock.1.mp3,person one,1,0.5,rock", "rock.1.mp3,person two,1,0.5,pop", "pop.1.mp3,person two,2,0.25,pop"]
    write(tmp_path, "music_genre_mturk.csv", "id,annotator,f0,f1,class", *answers)
    return tmp_path


def test_music_is_read_as_published(music: Path) -> None:
    data = Music(root=str(music), standardise=False).load(seed=0, key=KEY)
    first, second = pseudonyms(["person one", "person two"], KEY)
    assert said(data) == {("rock.1.mp3", first, "rock"), ("rock.1.mp3", second, "pop"), ("pop.1.mp3", second, "pop")}
    assert data.answers.classes == 10 and data.truth is not None and data.truth.tolist() == [9, 7]
    assert data.inputs.tolist() == [[1, 0.5], [2, 0.25]] and data.test_labels.tolist() == [5]
    assert Music(root=str(music)).load(seed=0, key=KEY).inputs.tolist() == [[-1, 1], [1, -1]]


def test_music_files_that_are_absent_or_overlap_are_refused(music: Path, tmp_path: Path) -> None:
    write(music, "music_genre_test.csv", "id,f0,f1,class", "rock.1.mp3,1,0.5,rock")
    with pytest.raises(BadInput, match="share a song"):
        Music(root=str(music)).load(seed=0, key=KEY)
    write(music, "music_genre_test.csv", "id,f0,class", "jazz.1.mp3,1,jazz")
    with pytest.raises(BadInput, match="different numbers of features"):
        Music(root=str(music)).load(seed=0, key=KEY)
    (music / "music_genre_test.csv").unlink()
    with pytest.raises(BadInput, match=r"lacks music_genre_test\.csv"):
        Music(root=str(music)).load(seed=0, key=KEY)
    with pytest.raises(BadInput, match="no folder was given"):
        Music().load(seed=0, key=KEY)


LABELME = {
    "answers": np.array([[0, -1, 7], [-1, -1, 3]], np.int8), "X_train": np.ones((2, 4), np.float16),
    "X_test": np.zeros((1, 4), np.float16), "y_train": np.array([0, 3], np.int8), "y_test": np.array([5], np.int8),
}  # fmt: skip


def test_labelme_keeps_its_columns_and_hides_their_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "labelme.npz", **LABELME)
    data = LabelMe(root=str(tmp_path)).load(seed=0, key=KEY)
    assert data.answers.items.tolist() == [0, 0, 1] and data.answers.annotators.tolist() == [0, 2, 2]
    assert data.answers.labels.tolist() == [0, 7, 3] and data.answers.annotators_without_answers().tolist() == [1]
    assert len(set(data.annotator_names)) == 3 and "1" not in data.annotator_names
    assert LabelMe(root=str(tmp_path)).load(seed=1, key=OTHER).content_hash() == data.content_hash()
    assert LabelMe(root=str(tmp_path)).load(seed=0, key=b"").annotator_names[1] == "annotator 2"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"answers": np.array([[0, -1], [-1, -1]], np.int8)}, "1 of 2 items have no label"),
        ({"answers": np.array([[0, 8], [1, -1]], np.int8)}, "a label lies outside 0 .. 7"),
        ({"answers": np.zeros((2, 3))}, "answers are float64"),
        ({"answers": np.zeros((3, 3), np.int8)}, "labelme: 2 inputs, but the answers are about 3"),
        ({"y_test": np.array([8])}, "a test label lies outside"),
        ({"X_test": None}, "lacks X_test"),
    ],
)
def test_a_wrong_labelme_file_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    held = {key: value for key, value in {**LABELME, **changed}.items() if value is not None}
    np.savez(tmp_path / "labelme.npz", **held)
    with pytest.raises(BadInput, match=problem):
        LabelMe(root=str(tmp_path)).load(seed=0, key=KEY)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images in place of CIFAR-10, and labels for them."""
    rng = np.random.default_rng(0)

    def part(n: int) -> ImageData:
        return ImageData(rng.integers(0, 256, (n, 3, 4, 4), np.uint8), np.arange(n) % 10, 10, "cifar10")

    source = Source(part(12), part(5), part(4), "protocol", about="About. ")
    monkeypatch.setattr(sources, "load", lambda name, *, root: source)
    columns = {f"random_label{n}": (np.arange(12) + n) % 10 for n in (1, 2, 3)}
    np.savez(tmp_path / "cifar10n_labels.npz", clean_label=np.arange(12) % 10, **columns)
    return tmp_path


def test_cifar10n_has_three_annotators_and_an_honest_protocol(cifar: Path) -> None:
    data = Cifar10N(root=str(cifar)).load(seed=0, key=KEY)
    assert data.annotator_names == ("random_label1", "random_label2", "random_label3")
    assert len(data.answers) == 36 and data.inputs.shape == (12, 3, 4, 4) and len(data.test_labels) == 9
    assert data.answers.labels.reshape(12, 3).tolist() == [[(i + n) % 10 for n in (1, 2, 3)] for i in range(12)]
    assert "About. " in data.protocol and "No gain from modelling annotators can be claimed" in data.protocol


def test_a_sample_of_cifar10n_is_drawn_by_the_seed(cifar: Path) -> None:
    some = Cifar10N(root=str(cifar), train=5, test=3)
    data, again, other = (some.load(seed=seed, key=KEY) for seed in (0, 0, 1))
    assert data.content_hash() == again.content_hash() != other.content_hash()
    numbers = [int(name.split()[1]) for name in data.item_names]
    assert numbers == sorted(set(numbers)) and len(numbers) == 5 and data.test_labels.shape == (3,)
    assert data.truth is not None and data.truth.tolist() == [n % 10 for n in numbers]
    assert data.answers.labels.reshape(5, 3)[:, 0].tolist() == [(n + 1) % 10 for n in numbers]
    with pytest.raises(BadInput, match="13 images are wanted, but there are 12"):
        Cifar10N(root=str(cifar), train=13).load(seed=0, key=KEY)


def test_cifar10n_labels_of_another_order_are_refused(cifar: Path) -> None:
    with np.load(cifar / "cifar10n_labels.npz") as file:
        held = dict(file)
    np.savez(cifar / "cifar10n_labels.npz", **{**held, "clean_label": held["clean_label"][::-1]})
    with pytest.raises(BadInput, match="not in one order"):
        Cifar10N(root=str(cifar)).load(seed=0, key=KEY)
    np.savez(cifar / "cifar10n_labels.npz", **{**held, "random_label2": held["clean_label"][:5]})
    with pytest.raises(BadInput, match="does not hold 12 labels of each sort"):
        Cifar10N(root=str(cifar)).load(seed=0, key=KEY)
    with pytest.raises(BadInput, match="unknown images"):
        Cifar10N(images="svhn")


def test_a_synthetic_crowd_labels_known_images() -> None:
    settings = CrowdSynthetic(
        images="digits", train=300, test=100, shrink=2, annotators=20, noise="correlated", rho=0.6
    )
    data, again, other = (settings.load(seed=seed, key=b"") for seed in (0, 0, 1))
    assert data.content_hash() == again.content_hash() != other.content_hash()
    assert data.inputs.shape == (300, 1, 4, 4) and data.test_inputs.shape == (100, 1, 4, 4)
    assert data.answers.answers_per_item().min() >= 1 and data.answers.n_annotators == 20
    source = sources.load("digits")
    numbers = [int(name.split()[1]) for name in data.item_names]
    assert np.array_equal(data.truth, source.private.labels[numbers])
    assert "correlated noise, followers copy their leader with probability 0.6" in data.protocol
    # Another strength of copying asks the same people about the same images.
    alone = dataclasses.replace(settings, noise="independent", rho=0.0).load(seed=0, key=b"")
    assert np.array_equal(alone.answers.annotators, data.answers.annotators)


@pytest.mark.parametrize(
    "changed", [{"train": 0}, {"shrink": 0}, {"mean_labels": 0.5}, {"rho": 2.0}, {"noise": "none"}]
)
def test_wrong_settings_are_refused_before_anything_is_read(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        CrowdSynthetic(**changed)


def test_images_shrink_by_averaging() -> None:
    images = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 1, 4, 6)
    small = shrunk(images, 2)
    expected = [
        [[[images[n, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(3)] for i in range(2)]]
        for n in (0, 1)
    ]
    assert small.dtype == np.uint8 and np.array_equal(small, (np.array(expected) + 0.5).astype(np.uint8))
    assert shrunk(np.full((1, 1, 2, 2), 255, np.uint8), 2).tolist() == [[[[255]]]]
    assert shrunk(images, 1) is images
    with pytest.raises(BadInput, match="4 x 6 pixels do not shrink by 4"):
        shrunk(images, 4)


def shipped() -> list[Path]:
    return [
        file for file in sorted(CONFIGS.glob("*.yaml")) if yaml.safe_load(file.read_text()).get("kind") in CROWD_KINDS
    ]


def test_every_kind_is_shipped() -> None:
    kinds = [yaml.safe_load(file.read_text())["kind"] for file in shipped()]
    assert set(kinds) == set(CROWD_KINDS) and len(kinds) == 6
    assert all(kind.provides == "crowd" for kind in CROWD_KINDS.values())


@pytest.mark.parametrize("file", shipped(), ids=lambda file: file.stem)
def test_shipped_configurations_hold_the_settings_of_their_kind(file: Path) -> None:
    held = yaml.safe_load(file.read_text())
    kind = CROWD_KINDS[held.pop("kind")]
    assert kind(**held).name == file.stem
    assert set(held) == {field.name for field in dataclasses.fields(kind)}
    assert file.read_text().startswith(f"# stillhouse run method=ccc data={file.stem}")


@pytest.mark.shared_data
def test_labelme_is_what_its_paper_counts(shared_data: Path) -> None:
    data = LabelMe(root=str(shared_data / "crowd")).load(seed=0, key=KEY)
    assert data.inputs.shape == (1000, 512) and data.test_inputs.shape == (1188, 512)
    assert len(data.answers) == 2547 and data.answers.n_annotators == 59
    assert not len(data.answers.annotators_without_answers()) and not len(data.answers.classes_nobody_chose())
    assert data.truth is not None
    assert (data.answers.labels == data.truth[data.answers.items]).mean() == pytest.approx(0.7405, abs=5e-5)


@pytest.mark.shared_data
def test_cifar10n_has_the_published_noise(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise rates of the three columns, and of the aggregated and worst labels beside them. Blank images: the labels matter here."""
    folder = shared_data / "images" / "cifar10"
    with np.load(folder / "cifar10n_labels.npz") as held:
        clean, aggregated, worst = (held[key] for key in ("clean_label", "aggre_label", "worse_label"))
    blank = ImageData(np.zeros((50_000, 3, 1, 1), np.uint8), clean, 10, "cifar10")
    monkeypatch.setattr(
        sources, "load", lambda name, *, root: Source(blank, blank.take([0]), blank.take([1]), "protocol")
    )
    data = Cifar10N(root=str(folder)).load(seed=0, key=b"")
    assert data.truth is not None
    wrong = data.answers.labels.reshape(-1, 3) != data.truth[:, None]
    assert wrong.mean(axis=0).round(4).tolist() == [0.1723, 0.1812, 0.1764]
    assert (aggregated != clean).mean().round(4) == 0.0901 and (worst != clean).mean().round(4) == 0.4021


@pytest.mark.slow
@pytest.mark.shared_data
def test_cifar10n_labels_stand_in_the_order_of_the_images(shared_data: Path) -> None:
    data = Cifar10N(root=str(shared_data / "images" / "cifar10"), images="cifar10_jpeg").load(seed=0, key=b"")
    assert data.inputs.shape == (50_000, 3, 32, 32) and data.test_inputs.shape == (10_000, 3, 32, 32)
    assert "JPEG re-encoded" in data.protocol
