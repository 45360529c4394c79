"""The corpus that needs no file: documentation of the running Python, generated stories and skill sentences."""

from monosema.data.builtin.corpus import BuiltinCorpus

__all__ = ["BuiltinCorpus"]
