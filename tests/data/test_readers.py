"""Files, folders and datasets: every document once, in order, and a clear word about what can't be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosema.core import CorpusError
from monosema.data import Corpus, open_corpus

TEXTS = ["first text", "second text\nwith two lines", "third – with a dash"]


def write_parquet(path: Path, texts: list[str | None], column: str = "text") -> Path:
    pq.write_table(pa.table({"id": list(range(len(texts))), column: texts}), path)
    return path


def write_jsonl(path: Path, texts: list[str | None], column: str = "text") -> Path:
    path.write_text("".join(json.dumps({"id": i, column: text}) + "\n" for i, text in enumerate(texts)))
    return path


def texts_of(corpus: Corpus) -> list[str]:
    documents = list(corpus.documents())
    assert [document.id for document in documents] == list(range(len(documents)))
    return [document.text for document in documents]


@pytest.mark.parametrize(("write", "name"), [(write_parquet, "a.parquet"), (write_jsonl, "a.jsonl")])
def test_tables_give_their_column_without_nulls_and_blanks(tmp_path, write, name):
    path = write(tmp_path / name, [TEXTS[0], None, "  \n", *TEXTS[1:]], "body")
    assert texts_of(open_corpus(path, column="body")) == TEXTS
    assert texts_of(open_corpus(path, column="body", limit=2)) == TEXTS[:2]


@pytest.mark.parametrize(("write", "name"), [(write_parquet, "a.parquet"), (write_jsonl, "a.jsonl")])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, write, name):
    path = write(tmp_path / name, TEXTS, "texts")
    with pytest.raises(CorpusError, match=r"no column 'text'.*Did you mean 'texts'.*id, texts"):
        list(open_corpus(path).documents())


def test_a_column_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"'id' .* holds int64, not text"):
        list(open_corpus(write_parquet(tmp_path / "a.parquet", TEXTS), column="id").documents())
    with pytest.raises(CorpusError, match=r"'id' in line 1 .* is a int, not text"):
        list(open_corpus(write_jsonl(tmp_path / "a.jsonl", TEXTS), column="id").documents())


def test_text_files_are_one_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeffbeginning\n\nend", encoding="utf-8")
    assert texts_of(open_corpus(path)) == ["beginning\n\nend"]


def test_long_text_files_are_cut_at_paragraphs_and_lose_nothing(tmp_path):
    text = "\n\n".join(f"paragraph {i} " + "wörd " * 200 for i in range(800))
    path = tmp_path / "long.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    texts = texts_of(open_corpus(path))
    assert len(texts) > 3
    assert "".join(texts) == text
    assert all(part.startswith("paragraph") for part in texts)


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin\.txt is not text in UTF-8"):
        list(open_corpus(path).documents())


def test_a_folder_mixes_kinds_in_order_of_paths(tmp_path):
    (tmp_path / "b").mkdir()
    write_parquet(tmp_path / "b" / "x.parquet", TEXTS[:1])
    write_jsonl(tmp_path / "a.ndjson", TEXTS[1:2])
    (tmp_path / "b" / "y.md").write_text(TEXTS[2], encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.txt").write_text("hidden")
    corpus = open_corpus(tmp_path)
    assert texts_of(corpus) == [TEXTS[1], TEXTS[0], TEXTS[2]]
    assert [document.source for document in corpus.documents()] == ["a.ndjson", "b/x.parquet", "b/y.md"]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_truncated_files_are_named(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        write_parquet(path, TEXTS * 50)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 50).encode()))
    else:
        write_jsonl(path, TEXTS * 50)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusError, match=rf"{name}.*(truncated|[Ff]etch it again)"):
        list(open_corpus(path).documents())


def test_a_parquet_file_damaged_in_its_middle_is_named(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [f"{text} {number}" for number in range(500) for text in TEXTS])
    content = bytearray(path.read_bytes())
    content[4:-200] = bytes(len(content) - 204)
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.parquet can't be read as Parquet"):
        list(open_corpus(path).documents())


def test_empty_corpora_say_so(tmp_path):
    with pytest.raises(CorpusError, match="empty"):
        list(open_corpus(write_jsonl(tmp_path / "a.jsonl", [None, " "])).documents())
    with pytest.raises(CorpusError, match="no file or folder"):
        open_corpus(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(CorpusError, match=r"holds no text that can be read.*\.parquet"):
        open_corpus(tmp_path / "bare")
    with pytest.raises(CorpusError, match="limit = 0"):
        open_corpus(tmp_path, limit=0)


def test_the_digest_follows_content_column_and_limit(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / "a.jsonl").write_bytes(path.read_bytes())
    first = open_corpus(path).digest
    assert first == open_corpus(copy / "a.jsonl").digest
    assert first != open_corpus(path, limit=2).digest
    write_jsonl(path, TEXTS[::-1])
    assert first != open_corpus(path).digest


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "my-dataset"
    (folder / "data").mkdir(parents=True)
    write_jsonl(folder / "data" / "train.jsonl", TEXTS)
    write_jsonl(folder / "data" / "test.jsonl", TEXTS[:1])
    return folder


def test_datasets_stream_from_a_local_directory(dataset):
    assert texts_of(open_corpus(f"hf:{dataset}")) == TEXTS
    assert texts_of(open_corpus(f"hf:{dataset}", split="test", limit=5)) == TEXTS[:1]
    assert open_corpus(f"hf:{dataset}").digest != open_corpus(f"hf:{dataset}", split="test").digest


def test_datasets_say_what_there_is(dataset, tmp_path):
    with pytest.raises(CorpusError, match=r"no column 'body'.*id, text"):
        open_corpus(f"hf:{dataset}", column="body")
    with pytest.raises(CorpusError, match="split 'nights', can't be read"):
        open_corpus(f"hf:{dataset}", split="nights")
    with pytest.raises(CorpusError, match="can't be read"):
        open_corpus(f"hf:{tmp_path}/no-such-dataset")


def test_halves_of_surrogate_pairs_are_replaced(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a \\ud83d\\ude00 pair"}\n{"text": "half \\ud800 of one"}\n')
    assert texts_of(open_corpus(path)) == ["a \U0001f600 pair", "half \ufffd of one"]


@pytest.mark.parametrize("line", ['{"text": ' + "9" * 5000 + "}", "[" * 200_000])
def test_json_that_python_will_not_read_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(CorpusError, match=r"Line 2 of .*a\.jsonl is not JSON"):
        texts_of(open_corpus(path))


def test_columns_of_categories_are_text(tmp_path):
    column = pa.array(TEXTS).dictionary_encode()
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert texts_of(open_corpus(tmp_path / "a.parquet")) == TEXTS


def test_what_is_said_about_a_data_set_is_not_its_data(tmp_path):
    (tmp_path / "README.md").write_text("About these data.")
    (tmp_path / "notes.txt").write_text(TEXTS[0])
    assert texts_of(open_corpus(tmp_path)) == ["About these data.", TEXTS[0]]
    write_parquet(tmp_path / "a.parquet", TEXTS[1:])
    assert texts_of(open_corpus(tmp_path)) == [*TEXTS[1:], TEXTS[0]]


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.JSON.gz"])
def test_files_of_rows_are_not_taken_for_text(tmp_path, name):
    (tmp_path / name).write_text("text\nhello\n")
    with pytest.raises(CorpusError, match=r"is a file of rows.*name it \.jsonl"):
        open_corpus(tmp_path / name)


def test_a_dataset_needs_a_name():
    with pytest.raises(CorpusError, match="names no dataset"):
        open_corpus("hf:")
