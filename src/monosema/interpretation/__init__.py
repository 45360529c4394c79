"""Interpretation: what features mean, said by people, by programs, or by language models."""

__all__: list[str] = []
