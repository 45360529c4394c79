"""Readers: each predicts from explanations alone what latents do."""

from __future__ import annotations

from monosema.interpretation.readers.language_model import LanguageModelReader, LanguageModelReaderConfig

__all__ = ["LanguageModelReader", "LanguageModelReaderConfig"]
