"""Hugging Face datasets, streamed: by name from the hub, or from a local directory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from monosema.core import CorpusError, digest, nearest
from monosema.data.document import Document
from monosema.data.readers.fingerprint import fingerprint

__all__ = ["HubCorpus"]


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
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise CorpusError(
                f"The dataset hf:{self.name}, split {self._split!r}, can't be read: {reason[0]} "
                "Check the name, the configuration (hf:NAME:CONFIG), the split, and the network."
            ) from error
        if self._column not in columns:
            raise CorpusError(
                f"The dataset hf:{self.name} has no column {self._column!r}.{nearest(self._column, columns)} "
                f"It has: {', '.join(columns)}. Say which holds the text with column = …"
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

        return str(HfApi().dataset_info(self._path).sha)

    def documents(self) -> Iterator[Document]:
        """Documents that aren't blank."""
        count = 0
        for row in self._dataset:
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
