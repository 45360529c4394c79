"""Features that fire on a given text, and their tokens in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from monosema.atlas.build import dictionary_digest
from monosema.atlas.encode import encode_batch
from monosema.atlas.fired_table import FiredRow, fired_table
from monosema.atlas.query import Atlas
from monosema.core import InputError
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Firing:
    """A feature that is active on a text.

    Attributes:
        latent: its number.
        label: as the atlas shows it; None where it has none.
        maximum: its largest activation on the text.
        share: `maximum` as a part of the largest activation in the atlas's text, so that features of unlike scale can
            be compared; above 1 where the text activates it more; None where it was never active there.
        density: share of the atlas's tokens on which it is active.
        positions: indices of the tokens on which it is active.
        activations: its activation on each of them.
    """

    latent: int
    label: str | None
    maximum: float
    share: float | None
    density: float
    positions: tuple[int, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class FiredText:
    """A text and the features that fire on it.

    Attributes:
        tokens: the text.
        looked_at: whether codes were computed on each token; not on special tokens, nor on the first of a row where the
            tokenizer has no special one to begin with, as when the atlas was built.
        firings: the features, those nearest to their own maximum first.
        active: how many features fire anywhere in it, listed or not.
    """

    tokens: tuple[str, ...]
    looked_at: tuple[bool, ...]
    firings: tuple[Firing, ...]
    active: int

    def table(self) -> pa.Table:
        """Return an Arrow table with a row for each listed feature on each token (see `fired_table`)."""
        rows = [
            FiredRow(position, one.latent, value, one.share and one.share * value / one.maximum, one.label)
            for one in self.firings
            for position, value in zip(one.positions, one.activations, strict=True)
        ]
        return fired_table(self.tokens, rows)


class _OneText:
    """A corpus of one document."""

    name = "a text"
    digest = ""

    def __init__(self, text: str) -> None:
        self._text = text

    def documents(self) -> Iterator[Document]:
        yield Document(0, self._text, "")


@torch.inference_mode()
def fires_on(
    atlas: Atlas, model: LanguageModel, dictionary: Dictionary, text: str, limit: int | None = 20
) -> FiredText:
    """Run a text through model and dictionary.

    Args:
        atlas: of the same model and dictionary: labels and maxima come from it.
        text: one longer than the model's context is cut into pieces that don't see each other.
        limit: features given at most; None for all.

    Raises:
        InputError: the text has no tokens, or model or dictionary are not those of the atlas.
    """
    for name, mine in (("model", model.digest), ("dictionary", dictionary_digest(dictionary))):
        if mine != atlas.meta[name]["digest"]:
            raise InputError(f"The atlas {atlas.path} is of another {name}. Open the one it was built with.")
    length = len(model.tokenizer.encode(text, bos=False))
    if not length or (limit is not None and limit < 0):
        raise InputError("Give a text of at least one token, and a limit of 0 or more.")
    alone = model.context == 1  # an item, whose one token is no sink
    config = TextConfig(window=max(2, min(length + 2, model.context)), batch=1, split="all", include_sinks=alone)
    tokens: list[str] = []
    looked_at: list[bool] = []
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for batch in token_batches(_OneText(text), model.tokenizer, config):
        shown = batch.document.reshape(-1) >= 0
        place = torch.cumsum(shown, 0) - 1 + len(tokens)
        kept = batch.keep.reshape(-1) & shown
        codes = encode_batch(model, dictionary, atlas.site, batch)
        row, slot = torch.nonzero(codes.values > 0, as_tuple=True)
        places = place[batch.keep.reshape(-1)]
        found.append(
            (
                places[row.cpu()].numpy(),
                codes.indices[row, slot].cpu().numpy(),
                codes.values[row, slot].float().cpu().numpy(),
            )
        )
        tokens += model.tokenizer.tokens(batch.tokens.reshape(-1)[shown].tolist())
        looked_at += kept[shown].tolist()
    position, latent, value = (np.concatenate(column) for column in zip(*found, strict=True))
    firings = _firings(atlas, position, latent, value)
    return FiredText(tuple(tokens), tuple(looked_at), tuple(firings[:limit]), len(firings))


def _firings(atlas: Atlas, position: np.ndarray, latent: np.ndarray, value: np.ndarray) -> list[Firing]:
    order = np.lexsort((position, latent))
    position, latent, value = position[order], latent[order], value[order]
    numbers, first = np.unique(latent, return_index=True)
    ends = [*first[1:].tolist(), len(latent)]
    rows = atlas.sql(
        "select latent, label, density, max from features where list_contains(?, latent)", [numbers.tolist()]
    )
    known = {row["latent"]: row for row in rows}
    firings = []
    for number, low, high in zip(numbers.tolist(), first.tolist(), ends, strict=True):
        row, strongest = known[number], float(value[low:high].max())
        firings.append(
            Firing(
                latent=number,
                label=row["label"],
                maximum=strongest,
                share=strongest / row["max"] if row["max"] > 0 else None,
                density=row["density"],
                positions=tuple(position[low:high].tolist()),
                activations=tuple(value[low:high].tolist()),
            )
        )
    return sorted(firings, key=lambda one: (-(one.share or 0.0), one.latent))
