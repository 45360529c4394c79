"""Readers: each predicts from explanations alone what latents do."""

from __future__ import annotations

from monosema.interpretation.readers.language_model import LanguageModelReader, LanguageModelReaderConfig
from monosema.interpretation.readers.programs import ProgramReader

__all__ = ["LanguageModelReader", "LanguageModelReaderConfig", "ProgramReader"]
