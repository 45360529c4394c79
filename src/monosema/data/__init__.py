"""Text: corpora, documents, and batches of tokens that know where they come from."""

from monosema.data.batch import TokenBatch, text_hash
from monosema.data.batches import TokenBatches, TokenCounts, token_batches
from monosema.data.builtin import BuiltinCorpus
from monosema.data.document import Corpus, Document
from monosema.data.encoder import TextEncoder
from monosema.data.opening import open_corpus
from monosema.data.packing import pack_windows, sentence_rows
from monosema.data.readers import FileCorpus, HubCorpus, fingerprint
from monosema.data.sentences import SentenceSplitter
from monosema.data.split import in_split, is_heldout
from monosema.data.text_config import TextConfig

__all__ = [
    "BuiltinCorpus",
    "Corpus",
    "Document",
    "FileCorpus",
    "HubCorpus",
    "SentenceSplitter",
    "TextConfig",
    "TextEncoder",
    "TokenBatch",
    "TokenBatches",
    "TokenCounts",
    "fingerprint",
    "in_split",
    "is_heldout",
    "open_corpus",
    "pack_windows",
    "sentence_rows",
    "text_hash",
    "token_batches",
]
