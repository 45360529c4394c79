"""Hugging Face datasets, streamed: by name from the hub, or from a local directory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from monosema.core import CorpusError, digest, nearest
from monosema.data.corpus import Document
from monosema.data.files import fingerprint


class HubCorpus:
    """Documents of one split of a dataset, read as they arrive; nothing is kept on the disk."""

    def __init__(
        self,
        name: str,
        config: str | None = None,
        *,
        split: str = "train",
        column: str = "text",
        limit: int | None = None,
    ) -> None:
        """Open the dataset; its rows are read later.

        Args:
            name: name on the hub (``owner/name``), or a directory of data files.
            config: which of the dataset's configurations.
            split: which of its splits.
            column: which column holds the text.
            limit: documents to read at most.

        Raises CorpusError naming what there is, where dataset, configuration, split or column don't exist.
        """
        self.name = name if config is None else f"{name}:{config}"
        self._path, self._config, self._split, self._column, self._limit = name, config, split, column, limit
        self._dataset = self._open()

    def _open(self) -> Any:
        from datasets import load_dataset

        try:
            dataset = load_dataset(self._path, self._config, split=self._split, streaming=True)
            columns = dataset.column_names or list(next(iter(dataset), {}))
        except Exception as error:
            raise CorpusError(
                f"The dataset hf:{self.name}, split {self._split!r}, can't be read ({_reason(error)}). "
                "Check the name, the configuration (hf:NAME:CONFIG), the split, and the network."
            ) from error
        if self._column not in columns:
            raise CorpusError(
                f"The dataset hf:{self.name} has no column {self._column!r}.{nearest(self._column, columns)} "
                f"It has: {', '.join(columns)}. Say which holds the text with --column."
            )
        return dataset.select_columns([self._column])

    @cached_property
    def digest(self) -> str:
        """Hash of the content's version: the hub's revision, or the files of a local directory."""
        return digest([self._revision(), self.name, self._split, self._column, self._limit])

    def _revision(self) -> str:
        root = Path(self._path)
        if root.is_dir():
            files = sorted(path for path in root.rglob("*") if path.is_file())
            return digest([[path.relative_to(root).as_posix(), fingerprint(path)] for path in files])
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self._path).sha)
        except Exception as error:  # whatever the HTTP library raises
            raise CorpusError(
                f"The hub does not say which version of hf:{self.name} it has ({_reason(error)}). Run the same command "
                "again when it can be reached."
            ) from error

    def documents(self) -> Iterator[Document]:
        """Documents that aren't blank. Raises CorpusError where they break off, saying after how many."""
        count = 0
        for row in self._rows():
            text = row[self._column]
            if text is not None and not isinstance(text, str):
                raise CorpusError(
                    f"The column {self._column!r} of hf:{self.name} holds {type(text).__name__}, not text."
                )
            if text and text.strip():
                if count == self._limit:
                    return
                yield Document(count, text, self.name)
                count += 1
        if count == 0:
            raise CorpusError(f"The dataset hf:{self.name}, split {self._split!r}, is empty.")

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The dataset's rows; whatever network, decompressor or parser raise in their middle is a CorpusError."""
        count, rows = 0, iter(self._dataset)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:
                where = f"The dataset hf:{self.name}, split {self._split!r}, broke off after {count:,} rows"
                if Path(self._path).is_dir():
                    raise CorpusError(
                        f"{where} ({_reason(error)}). A file may be truncated: fetch it again, and run the same "
                        "command."
                    ) from error
                raise CorpusError(
                    f"{where} ({_reason(error)}). What was made of them is kept: run the same command again, and it "
                    "goes on. Where it breaks off at the same row each time, a file on the hub is damaged: take "
                    "another split or configuration, or fewer tokens."
                ) from error
            count += 1
            yield row


def _reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.')}" if lines else type(error).__name__
