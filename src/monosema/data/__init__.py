"""Text: corpora, documents, and batches of tokens that know where they come from."""

from monosema.data.batches import TokenBatches, TokenCounts, token_batches
from monosema.data.builtin import BuiltinCorpus
from monosema.data.corpus import Corpus, Document, ListCorpus, Split, in_split, is_heldout
from monosema.data.files import FileCorpus, fingerprint, not_utf8
from monosema.data.hub import HubCorpus
from monosema.data.opening import open_corpus
from monosema.data.packing import pack_windows, sentence_rows
from monosema.data.sentences import SentenceSplitter
from monosema.data.tokens import TextConfig, TextEncoder, TokenBatch, text_hash

__all__ = [
    "BuiltinCorpus",
    "Corpus",
    "Document",
    "FileCorpus",
    "HubCorpus",
    "ListCorpus",
    "SentenceSplitter",
    "Split",
    "TextConfig",
    "TextEncoder",
    "TokenBatch",
    "TokenBatches",
    "TokenCounts",
    "fingerprint",
    "in_split",
    "is_heldout",
    "not_utf8",
    "open_corpus",
    "pack_windows",
    "sentence_rows",
    "text_hash",
    "token_batches",
]
