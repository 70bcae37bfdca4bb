"""Files of answers, gold labels and items: read alike from every form, and every wrong line told by its number."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data.crowd_files import read_answers, read_gold
from stillhouse.platform.data.crowd_items import read_inputs
from stillhouse.platform.errors import BadInput

SECRET = "secret-value"  # stands in wrong lines; no message may hold it


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(path: Path, **columns: str) -> str:
    with pytest.raises(BadInput) as caught:
        read_answers(path, **columns)
    assert SECRET not in str(caught.value)
    return str(caught.value)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=6)


@given(answers=st.dictionaries(st.tuples(NAMES, NAMES), NAMES, min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_csv_and_json_lines_say_the_same(tmp_path: Path, answers: dict[tuple[str, str], str]) -> None:
    rows = [(item, who, label) for (item, who), label in answers.items()]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("item", "annotator", "label"), *rows])
    write(
        tmp_path / "a.jsonl",
        *(json.dumps(dict(zip(("label", "annotator", "item"), row[::-1], strict=True))) for row in rows),
    )
    for name in ("a.csv", "a.jsonl"):
        read = read_answers(tmp_path / name)
        assert list(zip(read.items, read.annotators, read.labels, strict=True)) == rows


def test_other_columns_orders_blanks_and_marks_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbflabel, when ,who,picture\r\n cat ,1, w1 ,p 1\r\n\r\n"dog, big",2,w2,p2\r\n')
    read = read_answers(path, item="picture", annotator="who")
    assert read.items == ("p 1", "p2") and read.annotators == ("w1", "w2") and read.labels == ("cat", "dog, big")
    assert read.lines == (2, 4)
    numbers = write(
        tmp_path / "a.jsonl",
        '{"item": 7, "annotator": 1, "label": 0, "time": 1.5}',
        "",
        '{"item":7,"annotator":2,"label":1}',
    )
    assert read_answers(numbers).items == ("7", "7") and read_answers(numbers).lines == (1, 3)


def test_wrong_lines_of_a_csv_are_told_by_number_up_to_ten(tmp_path: Path) -> None:
    good = [f"i{n},w,x" for n in range(3)]
    text = refused(
        write(tmp_path / "a.csv", "item,annotator,label", *good, f"i1,w,{SECRET}", f"{SECRET},,x", f"{SECRET},w", ",,")
    )
    assert text.startswith(f"{tmp_path / 'a.csv'}: 4 lines are wrong: ")
    assert "line 5: the same item and annotator as in line 3" in text
    assert "line 6: no annotator" in text and "line 7: 2 fields, but the header has 3" in text
    assert "line 8: no item and no annotator and no label" in text
    text = refused(write(tmp_path / "b.csv", "item,annotator,label", *[f"{SECRET},,x"] * 13))
    assert text.count("line ") == 10 and "line 11: " in text and "line 12" not in text and "and 3 more" in text


def test_wrong_lines_of_json_are_told_by_number(tmp_path: Path) -> None:
    lines = [
        '{"item": "a", "annotator": "w", "label": "x"}', f'{{"item": "{SECRET}"', f'["{SECRET}"]',
        f'{{"item": "{SECRET}", "annotator": "w", "label": 1.5}}', f'{{"item": "{SECRET}", "label": true}}',
        f'{{"annotator": "w", "label": "{SECRET}"}}', '{"item": null, "annotator": "w", "label": "x"}', "9" * 5000,
    ]  # fmt: skip
    text = refused(write(tmp_path / "a.jsonl", *lines))
    for said in (
        "line 2: it is no JSON", "line 3: it is no JSON object", "line 4: label is neither text nor a whole number",
        "line 5: label is neither", "line 6: no item", "line 7: item is neither", "line 8: it is no JSON",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"item,annotator,label\n", "holds no answers"),
        (b"item,label\na,b\n", "has no column annotator"),
        (b"item,annotator,label,item\na,b,c,d\n", "two columns of one name"),
        (b'item,annotator,label\na,b,"c\n', "line 2: its quotes are not closed"),
        (b"item,annotator,label\na,b,\xff\n", "not UTF-8"),
        (b"item,annotator,label\n" + b"a" * 200_000 + b",b,c\n", "field is endless"),
    ],
)
def test_what_is_no_file_of_answers_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert said in refused(path)


def test_absent_files_and_equal_columns_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.csv")
    assert "cannot read" in refused(tmp_path)
    assert "named twice" in refused(write(tmp_path / "a.csv", "item,label", "a,b"), annotator="item")


def test_gold_labels_are_one_an_item(tmp_path: Path) -> None:
    gold = read_gold(write(tmp_path / "g.csv", "label,item", "x,a", "y,b"))
    assert gold.labels == {"a": "x", "b": "y"} and gold.lines == {"a": 2, "b": 3}
    with pytest.raises(BadInput, match="line 3: the same item as in line 2"):
        read_gold(write(tmp_path / "g.csv", "label,item", "x,a", f"{SECRET},a"))
    with pytest.raises(BadInput, match="holds no labels"):
        read_gold(write(tmp_path / "g.csv", "label,item"))


def test_features_are_read_alike_from_csv_and_npz(tmp_path: Path) -> None:
    table = write(tmp_path / "f.csv", "f1,item,f2,class", "1.5,a,-2e3,x", "0,b,7,y")
    np.savez(tmp_path / "f.npz", items=np.array(["a", "b"]), features=np.array([[1.5, -2000], [0, 7]]))
    for read in (read_inputs(table, ignored=("class",)), read_inputs(tmp_path / "f.npz")):
        assert read.names == ("a", "b") and read.inputs.dtype == np.float32
        assert read.inputs.tolist() == [[1.5, -2000.0], [0.0, 7.0]]
    np.savez(tmp_path / "n.npz", items=np.array([3, 4]), features=np.array([[1], [2]]))
    assert read_inputs(tmp_path / "n.npz").names == ("3", "4")


def test_images_are_read_alike_from_folder_and_npz(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 5), np.uint8)
    names = ["a.png", "cats/b.png", "cats/c.PNG"]
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "pictures" / name, format="PNG")
    write(tmp_path / "pictures" / ".hidden.png", "none")
    write(tmp_path / "pictures" / "note.txt", "none")
    np.savez(tmp_path / "i.npz", items=np.array(names), images=images)
    for read in (read_inputs(tmp_path / "pictures"), read_inputs(tmp_path / "i.npz")):
        assert read.names == tuple(names) and np.array_equal(read.inputs, images)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["item,f", f"a,{SECRET}", "b,nan", "c,inf", "d,1e39", ",1", "e,1", "e,2"], "6 lines are wrong"),
        (["item,f,g,h", "a,x,y,1"], "line 2: no finite number in f and 1 more columns"),
        (["item", "a"], "has no features"),
        (["item,f"], "holds no items"),
        (["f,g", "1,2"], "has no column item"),
    ],
)
def test_wrong_features_are_told_by_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_inputs(write(tmp_path / "f.csv", *lines))
    assert said in str(caught.value) and SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"features": np.ones((2, 2))}, "lacks items"),
        ({"items": np.array(["a", "b"])}, "neither features and images"),
        (
            {"items": np.array(["a", "b"]), "features": np.ones((2, 2)), "images": np.ones((2, 2))},
            "both features and images",
        ),
        ({"items": np.array(["a", "a"]), "features": np.ones((2, 2))}, "an item twice"),
        ({"items": np.array(["a"]), "features": np.ones((2, 2))}, "1 items, but 2 features"),
        ({"items": np.array(["a", "b"]), "features": np.ones(2)}, r"features are float64 of shape \(2,\)"),
        ({"items": np.array(["a", "b"]), "features": np.array([[1.0], [1e39]])}, "not a finite number"),
        ({"items": np.array(["a", "b"]), "images": np.ones((2, 1, 3, 3))}, "images are float64"),
        ({"items": np.array([0.5, 1.5]), "features": np.ones((2, 2))}, "items is float64"),
        (
            {"items": np.array(["a", None], dtype=object), "features": np.ones((2, 2))},
            "no whole archive of plain arrays",
        ),
    ],
)
def test_wrong_archives_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(BadInput, match=said):
        read_inputs(tmp_path / "f.npz")


def test_damaged_archives_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", items=np.array(["a"]), features=np.ones((1, 2)))
    whole = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cannot read"):
        read_inputs(tmp_path / "f.npz")
    with pytest.raises(BadInput, match="does not exist"):
        read_inputs(tmp_path / "none.npz")
    folder = tmp_path / "pictures"
    folder.mkdir()
    with pytest.raises(BadInput, match="no png or jpg"):
        read_inputs(folder)
    Image.new("L", (4, 4)).save(folder / "a.png")
    Image.new("L", (5, 4)).save(folder / "b.png")
    with pytest.raises(BadInput, match="another size"):
        read_inputs(folder)
