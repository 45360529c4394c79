"""Vectors without a language model: three sets of items, each made and run whole by one command."""
