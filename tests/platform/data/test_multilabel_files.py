from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.data.multilabel_files import Table, joined, read_table
from stillhouse.platform.errors import BadInput


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_with_and_without_names_of_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffid, height,width\na,1,2.5\n\nb,-3e1,4\n")
    found = read_table(path, item="id")
    assert found.columns == ("height", "width")
    assert found.items == ("a", "b")
    assert found.values.tolist() == [[1, 2.5], [-30, 4]]
    assert np.isnan(read_table(write(tmp_path, "x,y\n1,\n")).values[0, 1])


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.int16).reshape(3, 2))
    found = read_table(tmp_path / "a.npy")
    assert found.values.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.columns == ("0", "1")
    with pytest.raises(BadInput, match="rows have no names"):
        read_table(tmp_path / "a.npy", item="id")
    np.save(tmp_path / "a.npy", np.arange(6))
    with pytest.raises(BadInput, match="shape"):
        read_table(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(BadInput, match="it is no array"):
        read_table(tmp_path / "a.npy")


def test_up_to_ten_wrong_rows_are_named_and_nothing_of_their_content(tmp_path: Path) -> None:
    rows = ["x,y"] + ["secret,1"] * 12 + ["1,2,3", "1,2"]
    with pytest.raises(BadInput) as error:
        read_table(write(tmp_path, "\n".join(rows)))
    told = str(error.value)
    assert "row 2 has no number under 'x'" in told
    assert "row 11" in told
    assert "row 12" not in told
    assert "and 3 more rows" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("text", "told"), [("x,x\n1,2\n", "twice"), ("x,\n1,2\n", "not at all"), ("x,y\n", "no rows"), ("", "no rows")]
)
def test_wrong_headers(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=told):
        read_table(write(tmp_path, text))


def test_missing_files_and_columns(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="no column 'id'"):
        read_table(write(tmp_path, "x\n1\n"), item="id")
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(BadInput, match="no CSV table"):
        read_table(tmp_path / "table.csv")


def test_tables_are_joined_by_name_else_by_order() -> None:
    one = Table(np.array([[1.0], [2.0]]), ("x",), ("a", "b"))
    two = Table(np.array([[20.0], [10.0]]), ("y",), ("b", "a"))
    where = Path("labels.csv")
    assert joined(one, two, where)[1].tolist() == [[10], [20]]
    unnamed = Table(two.values, ("y",), None)
    assert joined(one, unnamed, where)[1].tolist() == [[20], [10]]
    with pytest.raises(BadInput, match="2 records are among"):
        joined(one, Table(two.values, ("y",), ("b", "c")), where)
    with pytest.raises(BadInput, match="twice among the labels"):
        joined(one, Table(two.values, ("y",), ("b", "b")), where)
    with pytest.raises(BadInput, match="2 rows of features, 1 of labels"):
        joined(one, Table(two.values[:1], ("y",), None), where)
