"""Names and orientation of a dictionary's parts in a format; for reading and for writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.formats.files import Shape, checked
from monosema.dictionaries.formats.parts import Parts


@dataclass(frozen=True)
class Names:
    """The names of a format's tensors.

    Attributes:
        encoder: of W_enc.
        encoder_bias: of b_enc.
        decoder: of W_dec.
        decoder_bias: of b_dec.
        encoder_columns: whether W_enc is stored with one column per latent, [d_in, m].
        decoder_columns: whether W_dec is stored with one column per latent, [d_out, m].
        more: of other parts, which have a value for each latent; by the part's name in `Parts`.
    """

    W_enc: str = "W_enc"
    b_enc: str = "b_enc"
    W_dec: str = "W_dec"
    b_dec: str = "b_dec"
    encoder_columns: bool = False
    decoder_columns: bool = False
    more: Mapping[str, str] = field(default_factory=dict)

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Return True if all of the tensors are there."""
        return all(name in state for name in (*self._matrices.values(), *self._vectors.values(), self.b_dec))

    def parts(
        self,
        state: dict[str, Any],
        path: Path,
        d_in: int | None = None,
        n_latents: int | None = None,
        d_out: int | None = None,
    ) -> dict[str, Any]:
        """The parts in float32, one row per latent, by their names in `Parts`.

        Args:
            state: the file's tensors.
            path: the file, for messages.
            d_in: width of the input; from the encoder's shape if not given.
            n_latents: likewise.
            d_out: width of the output; the input's if not given.

        Raises:
            FormatError: a part is missing, or its shape fits no other.
            DamagedFileError: values that are NaN or infinite.
        """
        width, m = self.sizes(state, path)
        d_in, m = d_in or width, n_latents or m
        d_out = d_out or d_in
        shapes: dict[str, Shape] = {
            self.W_enc: (d_in, m) if self.encoder_columns else (m, d_in),
            self.W_dec: (d_out, m) if self.decoder_columns else (m, d_out),
            **dict.fromkeys(self._vectors.values(), (m,)),
            self.b_dec: (d_out,),
        }
        tensors = checked(state, shapes, path)
        return {
            "W_enc": tensors[self.W_enc].T if self.encoder_columns else tensors[self.W_enc],
            "W_dec": tensors[self.W_dec].T if self.decoder_columns else tensors[self.W_dec],
            "b_dec": tensors[self.b_dec],
            **{part: tensors[name] for part, name in self._vectors.items()},
        }

    def sizes(self, state: Mapping[str, Any], path: Path) -> tuple[int, int]:
        """Width of the input and number of latents, as the encoder has them. Raises FormatError for no matrix."""
        return self._shape(state, path, self.W_enc, self.encoder_columns)

    def width_out(self, state: Mapping[str, Any], path: Path) -> int:
        """Width of the output, as the decoder has it. Raises FormatError where it is no matrix."""
        return self._shape(state, path, self.W_dec, self.decoder_columns)[0]

    def state(self, parts: Parts) -> dict[str, Tensor]:
        """The tensors of a dictionary, as `parts` reads them."""
        state = {name: getattr(parts, part) for part, name in self._vectors.items()}
        state[self.b_dec] = parts.b_dec
        state[self.W_enc] = parts.W_enc.T if self.encoder_columns else parts.W_enc
        state[self.W_dec] = parts.W_dec.T if self.decoder_columns else parts.W_dec
        return state

    @property
    def _matrices(self) -> dict[str, str]:
        return {"W_enc": self.W_enc, "W_dec": self.W_dec}

    @property
    def _vectors(self) -> dict[str, str]:
        return {"b_enc": self.b_enc, **self.more}

    def _shape(self, state: Mapping[str, Any], path: Path, name: str, columns: bool) -> tuple[int, int]:
        matrix = state.get(name)
        if not isinstance(matrix, Tensor) or matrix.dim() != 2:
            there = ", ".join(sorted(state)[:20]) or "nothing"
            said = "is missing" if matrix is None else "must be a matrix"
            raise FormatError(f"{path}: {name} {said}. It holds {there}.")
        first, second = matrix.shape
        return (first, second) if columns else (second, first)
