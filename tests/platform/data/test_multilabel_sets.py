from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data.multilabel_images import VOC_CLASSES
from stillhouse.platform.data.multilabel_sets import (
    MULTILABEL_KINDS,
    Coco,
    MultiLabelCsv,
    MultiLabelNpz,
    MultiLabelSynthetic,
    Voc,
)
from stillhouse.platform.errors import BadInput

CONFIGS = Path(__file__).parents[3] / "configs" / "data"


def test_every_kind_gives_multilabels() -> None:
    assert {kind.provides for kind in MULTILABEL_KINDS.values()} == {"multilabel"}
    assert set(MULTILABEL_KINDS) == {"multilabel_csv", "multilabel_npz", "multilabel_synthetic", "voc", "coco"}


def test_every_configuration_of_a_kind_fits_its_class() -> None:
    import yaml

    fitting = 0
    for path in CONFIGS.glob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if values.get("kind") in MULTILABEL_KINDS:
            made = MULTILABEL_KINDS[values.pop("kind")](**values)
            assert made.name == path.stem
            fitting += 1
    assert fitting == 8


class TestNoise:
    def test_clean_labels_and_rates_come_along(self) -> None:
        data = MultiLabelSynthetic(train=500, test=50, false_positive=0.1, false_negative=0.3).load(seed=2, key=b"")
        assert data.clean_labels is not None
        assert data.rates is not None
        assert (data.rates == [0.1, 0.3]).all()
        assert 0.05 < (data.labels != data.clean_labels).mean() < 0.2
        assert "flipped at random" in data.protocol
        assert (
            data.content_hash()
            == MultiLabelSynthetic(train=500, test=50, false_positive=0.1, false_negative=0.3)
            .load(seed=2, key=b"other")
            .content_hash()
        )

    def test_without_noise_nothing_is_claimed(self) -> None:
        data = MultiLabelSynthetic(train=300, test=50).load(seed=0, key=b"")
        assert data.clean_labels is None
        assert data.rates is None

    def test_balanced_noise_takes_the_cardinality_of_the_true_labels(self) -> None:
        data = MultiLabelSynthetic(train=500, test=50, false_negative=0.2, balanced=True).load(seed=0, key=b"")
        assert data.rates is not None
        assert data.clean_labels is not None
        cardinality = data.clean_labels.sum() / 500
        assert data.rates[0, 0] == pytest.approx(0.2 * cardinality / (20 - cardinality))
        with pytest.raises(BadInput, match="no rate of false positives"):
            MultiLabelSynthetic(false_positive=0.1, balanced=True)

    def test_rates_out_of_range(self) -> None:
        with pytest.raises(BadInput, match="false_negative"):
            MultiLabelSynthetic(false_negative=1.5)


class TestCsv:
    def write(self, folder: Path) -> MultiLabelCsv:
        (folder / "f.csv").write_text("id,x,y\nr1,1,2\nr2,3,4\nr3,5,6\n")
        (folder / "l.csv").write_text("id,cat,dog\nr3,1,1\nr1,1,0\nr2,0,1\n")
        (folder / "tf.csv").write_text("id,y,x\nt1,8,7\n")
        (folder / "tl.csv").write_text("id,dog,cat\nt1,1,0\n")
        (folder / "c.csv").write_text("id,dog,cat\nr1,0,1\nr2,1,1\nr3,1,1\n")
        return MultiLabelCsv(
            root=str(folder), features="f.csv", labels="l.csv", test_features="tf.csv", test_labels="tl.csv", item="id",
            clean_labels="c.csv",
        )  # fmt: skip

    def test_rows_are_joined_and_columns_ordered_by_name(self, tmp_path: Path) -> None:
        data = self.write(tmp_path).load(seed=0, key=b"")
        assert data.class_names == ("cat", "dog")
        assert data.inputs.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert data.labels.tolist() == [[1, 0], [0, 1], [1, 1]]
        assert data.test_inputs.tolist() == [[7, 8]]
        assert data.test_labels.tolist() == [[0, 1]]
        assert data.clean_labels is not None
        assert data.clean_labels.tolist() == [[1, 0], [1, 1], [1, 1]]
        assert data.rates is None

    @pytest.mark.parametrize(
        ("file", "text", "told"),
        [
            ("l.csv", "id,cat,dog\nr3,1,1\nr1,1,\nr2,0,1\n", "lacks 1 entries"),
            ("f.csv", "id,x,y\nr1,1,2\nr2,3,\nr3,5,6\n", "1 values that are not finite"),
            ("l.csv", "id,cat,dog\nr3,1,2\nr1,1,0\nr2,0,1\n", "something else than 0 and 1 under dog"),
            ("tl.csv", "id,dog,fox\nt1,1,0\n", "only one of them has cat, fox"),
            ("tf.csv", "id,y\nt1,8\n", "other columns"),
            ("l.csv", "id,cat,dog\nr3,1,1\nr1,1,1\nr2,0,1\n", "dog never changes"),
        ],
    )
    def test_bad_files(self, file: str, text: str, told: str, tmp_path: Path) -> None:
        settings = self.write(tmp_path)
        (tmp_path / file).write_text(text)
        with pytest.raises(BadInput, match=told):
            settings.load(seed=0, key=b"")

    def test_noise_on_top_of_noise_whose_truth_is_known_is_refused(self, tmp_path: Path) -> None:
        settings = self.write(tmp_path)
        little = 1e-9  # flips none of six labels
        for more in (
            {"false_positive": little},
            {"false_negative": little},
            {"false_negative": little, "balanced": True},
        ):
            with pytest.raises(BadInput, match=r"leave data\.clean_labels or the rates out"):
                replace(settings, **more).load(seed=0, key=b"")
            # Without true labels of their own, those that are given are taken for true.
            data = replace(settings, clean_labels=None, **more).load(seed=0, key=b"")
            assert data.clean_labels is not None
            assert data.clean_labels.tolist() == [[1, 0], [0, 1], [1, 1]]

    def test_files_that_are_not_named(self) -> None:
        with pytest.raises(BadInput, match="labels, test_features"):
            MultiLabelCsv(features="f.csv").load(seed=0, key=b"")


class TestNpz:
    def test_bits_and_a_keyed_split(self, tmp_path: Path) -> None:
        generator = np.random.default_rng(0)
        inputs, labels = generator.integers(0, 2, (100, 11)), generator.integers(0, 2, (100, 3)).astype(np.uint8)
        packed = np.packbits(inputs.astype(bool), axis=1)
        for split, how in ((-1, "keyed"), (60, "published")):
            np.savez(tmp_path / "tiny.npz", X=packed, Y=labels, d=11, n_train=split)
            data = MultiLabelNpz(root=str(tmp_path), set="tiny").load(seed=0, key=b"")
            assert len(data) == (75 if split < 0 else 60)
            assert how in data.protocol
            both = np.concatenate(
                [np.column_stack([data.inputs, data.labels]), np.column_stack([data.test_inputs, data.test_labels])]
            )
            expected = np.column_stack([inputs, labels])
            assert sorted(map(tuple, both.astype(int))) == sorted(map(tuple, expected))

    def test_missing_and_damaged_files(self, tmp_path: Path) -> None:
        settings = MultiLabelNpz(root=str(tmp_path))
        with pytest.raises(BadInput, match="is not there"):
            settings.load(seed=0, key=b"")
        (tmp_path / "scene.npz").write_bytes(b"nothing")
        with pytest.raises(BadInput, match="no whole archive"):
            settings.load(seed=0, key=b"")
        np.savez(tmp_path / "scene.npz", X_train=np.zeros((2, 2)))
        with pytest.raises(BadInput, match="lacks the array"):
            settings.load(seed=0, key=b"")

    @pytest.mark.parametrize(
        "changed",
        [
            {"X": np.zeros((9, 2))},
            {"X": np.uint8(3)},
            {"Y": np.zeros(9, np.uint8)},
            {"Y": np.zeros((8, 3), np.uint8)},
            {"n_train": np.array([3, 4])},
            {"d": np.array("eleven")},
            {"label_names": np.array("cat")},
        ],
        ids=lambda changed: "".join(changed),
    )
    def test_arrays_of_another_form_are_refused(self, changed: dict[str, Any], tmp_path: Path) -> None:
        arrays = {"X": np.zeros((9, 2), np.uint8), "Y": np.zeros((9, 3), np.uint8), "d": 11, "n_train": -1} | changed
        np.savez(tmp_path / "scene.npz", **arrays)
        with pytest.raises(BadInput, match=r"scene\.npz"):
            MultiLabelNpz(root=str(tmp_path)).load(seed=0, key=b"")

    @pytest.mark.shared_data
    @pytest.mark.parametrize(
        ("name", "train", "test", "features", "classes"),
        [("scene", 1211, 1196, 294, 6), ("yeast", 1500, 917, 103, 14), ("tmc2007_500", 21447, 7149, 500, 22)],
    )
    def test_the_shared_sets_are_read(
        self, name: str, train: int, test: int, features: int, classes: int, shared_data: Path
    ) -> None:
        data = MultiLabelNpz(root=str(shared_data / "images" / "multilabel"), set=name).load(seed=0, key=b"")
        assert (len(data), len(data.test_inputs), data.shape, data.classes) == (train, test, (features,), classes)


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 6), colour).save(path)


class TestVoc:
    def write(self, root: Path) -> None:
        objects = {
            "000001": ["cat", "dog"],
            "000002": ["dog"],
            "000003": list(VOC_CLASSES)[:-1],
            "000004": ["tvmonitor"],
        }
        year = root / "VOCdevkit" / "VOC2007"
        for folder in ("Annotations", "ImageSets/Main"):
            (year / folder).mkdir(parents=True)
        for name, found in objects.items():
            picture(year / "JPEGImages" / f"{name}.jpg", (200, 10, 10))
            # A part's name is not an object's; a difficult object is one all the same.
            parts = "".join(
                f"<object><name>{o}</name><difficult>1</difficult><part><name>head</name></part></object>"
                for o in found
            )
            (year / "Annotations" / f"{name}.xml").write_text(f"<annotation>{parts}</annotation>")
        (year / "ImageSets" / "Main" / "trainval.txt").write_text("000001\n000003\n000004\n")
        (year / "ImageSets" / "Main" / "test.txt").write_text("000002\n")

    def test_objects_are_labels(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        data = Voc(root=str(tmp_path), side=8).load(seed=0, key=b"")
        assert data.shape == (3, 8, 8)
        assert data.inputs[0, 0].mean() > 190
        assert [data.class_names[j] for j in np.flatnonzero(data.labels[0])] == ["cat", "dog"]
        assert data.labels[1].sum() == 19
        assert [data.class_names[j] for j in np.flatnonzero(data.test_labels[0])] == ["dog"]

    def test_missing_and_damaged_files(self, tmp_path: Path) -> None:
        for root in (None, str(tmp_path)):
            with pytest.raises(BadInput, match="not there"):
                Voc(root=root).load(seed=0, key=b"")
        self.write(tmp_path)
        (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000004.jpg").write_bytes(b"no image")
        with pytest.raises(BadInput, match="cannot be read") as error:
            Voc(root=str(tmp_path), side=8).load(seed=0, key=b"")
        assert "000004" not in str(error.value)
        (tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml").write_text("<annotation>")
        with pytest.raises(BadInput, match="annotation that cannot be read"):
            Voc(root=str(tmp_path), side=8).load(seed=0, key=b"")
        with pytest.raises(BadInput, match="2007 or 2012"):
            Voc(year=2010)


class TestCoco:
    def write(self, root: Path) -> None:
        for part in ("train2014", "val2014"):
            told: dict[str, Any] = {
                "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
                "images": [{"id": n, "file_name": f"{n}.jpg"} for n in (5, 6, 8)],
                "annotations": [
                    {"image_id": 8, "category_id": 7}, {"image_id": 5, "category_id": 3}, {"image_id": 5, "category_id": 3}
                ],
            }  # fmt: skip
            for n in (5, 6, 8):
                picture(root / part / f"{n}.jpg", (0, n * 20, 0))
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(told))

    def test_objects_are_labels_and_images_without_any_are_left_out(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        data = Coco(root=str(tmp_path), side=8).load(seed=0, key=b"")
        assert data.class_names == ("cat", "dog")
        assert data.labels.tolist() == [[1, 0], [0, 1]]
        assert data.inputs[:, 1].mean((1, 2)).tolist() == pytest.approx([100, 160], abs=3)

    def test_missing_and_damaged_files(self, tmp_path: Path) -> None:
        for root in (None, str(tmp_path)):
            with pytest.raises(BadInput, match="not there"):
                Coco(root=root).load(seed=0, key=b"")
        self.write(tmp_path)
        (tmp_path / "annotations" / "instances_train2014.json").write_text('{"images": []}')
        with pytest.raises(BadInput, match="no list of objects"):
            Coco(root=str(tmp_path), side=8).load(seed=0, key=b"")
