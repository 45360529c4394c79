"""Activations: captured at sites, stored in shards, and streamed in shuffled batches."""

from monosema.activations.capture import CaptureConfig, capture_to_store
from monosema.activations.codec import CodecKind, Coded, coding_error, encode
from monosema.activations.joined import JoinedStream
from monosema.activations.manifest import Manifest, ShardRecord
from monosema.activations.preprocessing import Preprocessing, Welford, fit_preprocessing
from monosema.activations.rows import RowTaker, activations_at
from monosema.activations.source import RowSource
from monosema.activations.store import Store
from monosema.activations.stream import ActivationStream, Shuffle, StoreStream
from monosema.activations.vectors import Rows, VectorStore, open_rows, open_vectors
from monosema.activations.windows import Windows, read_windows, windows_width, write_windows

__all__ = [
    "ActivationStream",
    "CaptureConfig",
    "CodecKind",
    "Coded",
    "JoinedStream",
    "Manifest",
    "Preprocessing",
    "RowSource",
    "RowTaker",
    "Rows",
    "ShardRecord",
    "Shuffle",
    "Store",
    "StoreStream",
    "VectorStore",
    "Welford",
    "Windows",
    "activations_at",
    "capture_to_store",
    "coding_error",
    "encode",
    "fit_preprocessing",
    "open_rows",
    "open_vectors",
    "read_windows",
    "windows_width",
    "write_windows",
]
