"""One way to open any text."""

from __future__ import annotations

from pathlib import Path

from monosema.core import CorpusError
from monosema.data.builtin import BuiltinCorpus
from monosema.data.corpus import Corpus
from monosema.data.files import FileCorpus
from monosema.data.hub import HubCorpus


def open_corpus(spec: str | Path, *, column: str = "text", split: str = "train", limit: int | None = None) -> Corpus:
    """Open a corpus; documents are read later, as a stream.

    Args:
        spec: ``"builtin"``; a .parquet, .jsonl or text file; a folder of such files; ``"hf:NAME"`` or
            ``"hf:NAME:CONFIG"`` for a Hugging Face dataset.
        column: which column of Parquet, JSON lines and datasets holds the text.
        split: which split of a Hugging Face dataset (held-out documents are chosen later, by TextConfig).
        limit: documents to read at most.

    Raises CorpusError where there is no such corpus.
    """
    if limit is not None and limit < 1:
        raise CorpusError(f"limit = {limit} leaves no documents: give 1 or more, or None for all.")
    text = str(spec)
    if text == "builtin":
        return BuiltinCorpus(limit=limit)
    if text.startswith("hf:"):
        name, _, config = text.removeprefix("hf:").partition(":")
        if not name:
            raise CorpusError("The corpus hf: names no dataset. Write hf:NAME or hf:NAME:CONFIG.")
        return HubCorpus(name, config or None, split=split, column=column, limit=limit)
    return FileCorpus(spec, column=column, limit=limit)
