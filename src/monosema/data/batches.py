"""Documents to batches of tokens, as one stream that counts what it leaves out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monosema.core import CorpusError, EmptySplitError, counted
from monosema.data.chats import ChatEncoder, as_chats, is_chat
from monosema.data.corpus import Corpus, Document, in_split
from monosema.data.packing import Row, pack_windows, sentence_rows
from monosema.data.sentences import SentenceSplitter
from monosema.data.tokens import TextConfig, TextEncoder, TokenBatch

TOGETHER_DOCUMENTS, TOGETHER_CHARACTERS = 256, 1_000_000
"""Documents are tokenised together, in parallel, until there are this many of them or of their characters."""
SORTED_BATCHES = 64
"""Sentences are sorted by length within this many batches, so that rows of a batch need little padding."""


@dataclass
class TokenCounts:
    """Counts of what a stream of batches has given so far.

    Attributes:
        rows: windows or sentences.
        tokens: tokens that are not padding.
        kept: tokens for dictionary training.
        sinks: tokens left out because attention comes to rest there (BOS, EOS, first of a row without BOS).
        padding: positions that hold no token.
    """

    rows: int = 0
    tokens: int = 0
    kept: int = 0
    sinks: int = 0
    padding: int = 0

    def add(self, batch: TokenBatch) -> None:
        """Count one batch more."""
        tokens, kept = int(batch.attention_mask.sum()), int(batch.keep.sum())
        self.rows += len(batch.tokens)
        self.tokens += tokens
        self.kept += kept
        self.sinks += tokens - kept
        self.padding += batch.tokens.numel() - tokens

    def to_dict(self) -> dict[str, int]:
        """Plain values for manifests."""
        return dataclasses.asdict(self)


class TokenBatches(Iterator[TokenBatch]):
    """A stream of batches: deterministic, read once from the first document on.

    Attributes:
        corpus, config: where the text comes from and how it is cut.
        counts: what has been given so far.

    All batches have `config.batch` rows, except the last. Raises CorpusError where the split is empty, and where the
    corpus ends before the first batch is full (the held-out split may be smaller than that).
    """

    def __init__(self, corpus: Corpus, tokenizer: TextEncoder, config: TextConfig) -> None:
        self.corpus = corpus
        self.config = config
        self.counts = TokenCounts()
        self._tokenizer = tokenizer
        self._specials = torch.tensor(
            sorted({i for i in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) if i is not None}),
            dtype=torch.int64,
        )
        self._chat = self._chat_encoder() if config.chat_share else None
        self._batches = self._read()

    def _chat_encoder(self) -> ChatEncoder:
        if self.config.mode != "windows":
            raise CorpusError("Only windows hold chats. Set chat_share to 0, or mode to 'windows'.")
        if not isinstance(self._tokenizer, ChatEncoder) or self._tokenizer.chat_template is None:
            raise CorpusError("The model has no chat template to write documents as chats. Set chat_share to 0.")
        return self._tokenizer

    @property
    def recipe(self) -> dict[str, Any]:
        """Settings that decide which tokens come, as plain values for manifests."""
        return {"corpus": self.corpus.name, "corpus_digest": self.corpus.digest, "text": self.config.to_dict()}

    def __next__(self) -> TokenBatch:
        batch = next(self._batches)
        self.counts.add(batch)
        return batch

    def _read(self) -> Iterator[TokenBatch]:
        limit = self.config.tokens
        kept = 0
        groups = _chunks(self._rows(), self.config.batch)
        for index, rows in enumerate(groups):
            if index == 0 and len(rows) < self.config.batch and self.config.split != "heldout":
                raise self._too_small(rows)
            batch = self._batch(rows)
            if limit is not None:
                batch = batch.head(batch.rows_until(limit - kept))
            kept += int(batch.keep.sum())
            yield batch
            if limit is not None and kept >= limit:
                return
        if kept == 0:
            raise EmptySplitError(
                f"The {self.config.split} split of the corpus {self.corpus.name} has no documents: the corpus is too "
                f"small for heldout_share = {self.config.heldout_share}. Change the share, or use split = 'all'."
            )

    def _documents(self) -> Iterator[Document]:
        split, share = self.config.split, self.config.heldout_share
        return (document for document in self.corpus.documents() if in_split(document.text, split, share))

    def _rows(self) -> Iterator[Row]:
        bos, eos = self._tokenizer.bos_id, self._tokenizer.eos_id
        if self.config.mode == "windows":
            yield from pack_windows(self._tokenised(), self.config.window, bos, eos)
            return
        rows = sentence_rows(self._tokenised_sentences(), self.config.max_sentence, bos, eos)
        for group in _chunks(rows, SORTED_BATCHES * self.config.batch):
            yield from sorted(group, key=lambda row: row.shape[1])

    def _tokenised(self) -> Iterator[tuple[int, list[int]]]:
        for group in _together(self._documents()):
            encoded = self._tokenizer.encode_batch([self._written(document.text) for document in group], bos=False)
            yield from zip((document.id for document in group), map(self._unopened, encoded), strict=True)

    def _unopened(self, ids: list[int]) -> list[int]:
        """The tokens of a document without the one that begins sequences, which every row is given, were it written."""
        bos, eos = self._tokenizer.bos_id, self._tokenizer.eos_id
        begin = eos if bos is None else bos
        return ids[1:] if begin is not None and ids[:1] == [begin] else ids

    def _written(self, text: str) -> str:
        template = self._chat and self._chat.chat_template
        return as_chats(text, template) if template and is_chat(text, self.config.chat_share) else text

    def _tokenised_sentences(self) -> Iterator[tuple[int, list[list[int]]]]:
        splitter = SentenceSplitter(document.text for document in self.corpus.documents())
        for group in _together(self._documents()):
            sentences = [splitter.split(document.text) for document in group]
            encoded = iter(self._tokenizer.encode_batch([text for texts in sentences for text in texts], bos=False))
            for document, texts in zip(group, sentences, strict=True):
                yield document.id, list(map(self._unopened, itertools.islice(encoded, len(texts))))

    def _batch(self, rows: Sequence[Row]) -> TokenBatch:
        longest = self.config.window if self.config.mode == "windows" else max(row.shape[1] for row in rows)
        packed = np.full((3, len(rows), longest), -1, np.int64)
        real = np.zeros((len(rows), longest), np.bool_)
        packed[0] = self._padding_id()
        for index, row in enumerate(rows):
            packed[:, index, : row.shape[1]] = row
            real[index, : row.shape[1]] = True
        tokens, mask, document = torch.from_numpy(packed[0]), torch.from_numpy(real), torch.from_numpy(packed[1])
        keep = mask if self.config.include_sinks else mask & self._not_a_sink(tokens, document)
        return TokenBatch(tokens, mask, document, torch.from_numpy(packed[2]), keep)

    def _padding_id(self) -> int:
        choices = (self._tokenizer.pad_id, self._tokenizer.eos_id, self._tokenizer.bos_id, 0)
        return next(choice for choice in choices if choice is not None)

    def _not_a_sink(self, tokens: Tensor, document: Tensor) -> Tensor:
        keep = self._ordinary(tokens, document)
        keep[:, : self.config.skip_first] = False
        return keep

    def _ordinary(self, tokens: Tensor, document: Tensor) -> Tensor:
        if self._chat is not None:
            # Within a chat, the template's tokens are like any other; where they begin a row, they are its sink.
            opening = torch.isin(tokens, torch.tensor(sorted(self._chat.special_ids))).long().cumprod(dim=1) > 0
            return (document >= 0) & ~opening & (tokens != (-1 if self._chat.bos_id is None else self._chat.bos_id))
        keep = ~torch.isin(tokens, self._specials)
        if self._tokenizer.bos_id is None and self._tokenizer.eos_id is None:
            keep[:, 0] = False
        return keep

    def _too_small(self, rows: Sequence[Row]) -> CorpusError:
        kind = "window" if self.config.mode == "windows" else "sentence"
        tokens = sum(row.shape[1] for row in rows)
        return CorpusError(
            f"The corpus {self.corpus.name} is smaller than a batch: it gives {counted(len(rows), kind)} "
            f"({counted(tokens, 'token')}), and a batch has {self.config.batch}. Lower --text.batch"
            f"{' or --window' if kind == 'window' else ''}, or add text."
        )


def token_batches(corpus: Corpus, tokenizer: TextEncoder, config: TextConfig | None = None) -> TokenBatches:
    """Batches of tokens of a corpus, from its first document on; see TokenBatches."""
    return TokenBatches(corpus, tokenizer, config or TextConfig())


def _together(documents: Iterator[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if len(group) >= TOGETHER_DOCUMENTS or characters >= TOGETHER_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while group := list(itertools.islice(rows, size)):
        yield group
