"""Fast sparse operations, each beside the slow readable twin that is its oracle."""

from __future__ import annotations

from monosema.kernels.allocation import give_back_free_memory, keep_large_blocks
from monosema.kernels.encode import encode_top_k, encode_top_k_dense
from monosema.kernels.functions import decode_codes, encode_codes
from monosema.kernels.selection import Selection, top_k, top_k_dense
from monosema.kernels.sparse import (
    decode_dense,
    row_sums,
    row_sums_dense,
    sparse_decode,
    to_dense,
    value_products,
    value_products_dense,
)

__all__ = [
    "Selection",
    "decode_codes",
    "decode_dense",
    "encode_codes",
    "encode_top_k",
    "encode_top_k_dense",
    "give_back_free_memory",
    "keep_large_blocks",
    "row_sums",
    "row_sums_dense",
    "sparse_decode",
    "to_dense",
    "top_k",
    "top_k_dense",
    "value_products",
    "value_products_dense",
]
