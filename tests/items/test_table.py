from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosema.core import InputError
from monosema.items import Items, read_items

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\n"
    b"IDATx\xdac\xf8\x0f\x00\x01\x01\x01\x00\x1b\xb6\xeeV\x00\x00\x00\x00IEND\xaeB`\x82"
)


def films(tmp_path: Path) -> Items:
    path = tmp_path / "films.parquet"
    columns = {"year": [1931, 1941, None], "title": ["M", "Dumbo", "M"], "poster": [PIXEL, None, b"no picture"]}
    pq.write_table(pa.table(columns), path)
    return read_items(path, 3)


def test_names_come_from_the_column_called_title_and_none_is_there_twice(tmp_path: Path) -> None:
    assert films(tmp_path).names == ["M (row 0)", "Dumbo", "M (row 2)"]


def test_other_columns_are_facts_without_what_is_missing(tmp_path: Path) -> None:
    assert films(tmp_path).facts([1, 2]) == [{"year": 1941}, {}]


def test_pictures_are_data_uris_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    pictures = {row: read() for row, read in films(tmp_path).pictures([0, 1, 2])}
    assert list(pictures) == [0, 2]
    assert pictures[2] is None
    assert (pictures[0] or "").startswith("data:image/png;base64,iVBORw0KGgo")


def test_paths_of_pictures_are_read_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(PIXEL)
    path = tmp_path / "items.csv"
    path.write_text("name,file\nfirst,one.png\nsecond,gone.png\n")
    assert [read() is None for _, read in read_items(path, 2).pictures([0, 1])] == [False, True]


def test_a_line_of_a_text_file_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("사과\n배\n", encoding="utf-8")
    items = read_items(path, 2)
    assert items.names == ["사과", "배"]
    assert items.facts([1, 0, 1]) == [{}, {}, {}]


@pytest.mark.parametrize(
    ("name", "content", "column", "said"),
    [
        ("names.txt", "a\nb\n", None, r"names 2 items, and items\.npy has 3 rows"),
        ("names.json", "[]", None, r"--names takes \.parquet, \.csv, \.txt"),
        ("names.csv", "title,year\na,1\nb,2\nc,3\n", "titel", "Did you mean 'title'"),
        ("names.csv", "이름,해\n배,1\n감,2\n귤,3\n".encode("cp949"), None, r"names\.csv is not text in UTF-8 .* iconv"),
        ("names.txt", "배\n감\n귤\n".encode("cp949"), None, r"names\.txt is not text in UTF-8 .* iconv"),
        ("names.parquet", "not parquet", None, r"can't be read as \.parquet"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, content: str | bytes, column: str | None, said: str
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=said):
        read_items(tmp_path / name, 3, "items.npy", column)
