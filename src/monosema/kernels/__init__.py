"""Fast sparse operations, each beside the slow readable twin that is its oracle."""

from __future__ import annotations

from monosema.kernels.encode import encode_top_k, encode_top_k_dense
from monosema.kernels.functions import (
    Active,
    Full,
    decode_active,
    encode_active,
    encode_batch,
    encode_codes,
    encode_entries,
)
from monosema.kernels.ragged import (
    Ragged,
    ragged_decode,
    ragged_decode_dense,
    ragged_row_sums,
    ragged_row_sums_dense,
    ragged_value_products,
    ragged_value_products_dense,
)
from monosema.kernels.ragged_encode import (
    encode_above,
    encode_above_dense,
    encode_batch_top_k,
    encode_batch_top_k_dense,
)
from monosema.kernels.selection import Selection, top_k, top_k_dense
from monosema.kernels.sharing import Grid
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
    "Active",
    "Full",
    "Grid",
    "Ragged",
    "Selection",
    "decode_active",
    "decode_dense",
    "encode_above",
    "encode_above_dense",
    "encode_active",
    "encode_batch",
    "encode_batch_top_k",
    "encode_batch_top_k_dense",
    "encode_codes",
    "encode_entries",
    "encode_top_k",
    "encode_top_k_dense",
    "ragged_decode",
    "ragged_decode_dense",
    "ragged_row_sums",
    "ragged_row_sums_dense",
    "ragged_value_products",
    "ragged_value_products_dense",
    "row_sums",
    "row_sums_dense",
    "sparse_decode",
    "to_dense",
    "top_k",
    "top_k_dense",
    "value_products",
    "value_products_dense",
]
