"""Metrics of steered text: fluency, divergence, repetition, effect, and the price on other skills."""
