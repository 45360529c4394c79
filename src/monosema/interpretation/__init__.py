"""Interpretation: what features mean, said by people, by programs, or by language models."""
