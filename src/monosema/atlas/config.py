"""Configuration of an atlas: its contents, and the memory that making it may take."""

from __future__ import annotations

from pydantic import Field, model_validator

from monosema.core import Config


class AtlasConfig(Config):
    """Number of passages, tokens and neighbours kept for each feature, and memory used."""

    passage: int = Field(128, ge=2)
    """Rows of text longer than this are cut into passages of so many tokens; a feature has one peak in a passage."""
    before: int = Field(28, ge=0)
    """Tokens shown before the peak of a passage, at most."""
    after: int = Field(12, ge=0)
    """Tokens shown after the peak, at most."""
    top: int = Field(20, ge=1)
    """Strongest passages kept."""
    per_quantile: int = Field(5, ge=0)
    """Passages drawn at random from each tenth of the activating passages, by their maximum."""
    inactive: int | None = Field(None, ge=1)
    """Passages kept that do not activate a feature, drawn at random; None keeps none."""
    effects: int = Field(10, ge=0)
    """Promoted, and suppressed, tokens kept."""
    neighbours: int = Field(10, ge=0)
    """Nearest features kept, by decoder and by co-activation each."""
    top_tokens: int = Field(10, ge=1)
    """Tokens kept that carry most of the activation."""
    coactivation_tokens: int = Field(65_536, ge=0)
    """Tokens drawn from the text to count co-activations on; 0 leaves them out."""
    memory_mb: int = Field(768, ge=16)
    """Working memory beside model and dictionary; more text than fits goes through the disk."""
    seed: int = 0
    """Decides which passages, and which tokens for co-activation, are drawn."""
    keep_spill: bool = False
    """Keep the codes of the whole text in the folder's .spill after the tables are written."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_recipes(cls, values: object) -> object:
        """Drop the keys of older recipes that shaped labels which `explain` makes now."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if name not in ("label_tokens", "label_share")}
        return values
