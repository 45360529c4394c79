"""Self-explanation: a model is asked what a direction in it means, with the direction in the place of a word.

The model continues a sentence such as ``The meaning of the word " X" is "``. In that pass the activation at the
placeholder's last position is replaced by s · n · d / ‖d‖, with d the latent's direction, n the norm of the activation
that it replaces, and s one of several scales (SelfIE, Chen et al. 2024, arXiv 2403.10949; Patchscopes, Ghandeharioun et
al. 2024, arXiv 2401.06102). Of what it writes at the scales, the explanation is that which it is most confident of:

    confidence = mean over the words written of  log p(word | with the direction) − log p(word | with the placeholder),

so that what the sentence alone would lead to does not count. (Departure: those papers choose a scale by hand, or by
the entropy of the first word.) Nothing but the direction is shown to the model: no passages, and no other model.

What it says is worth as much as the model's way with words. Score it as any other explanation before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.core import Config, InputError, Site
from monosema.dictionaries import Dictionary
from monosema.interpretation import prompts
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples
from monosema.models import LanguageModel

__all__ = ["SelfExplainer", "SelfExplainerConfig"]


class SelfExplainerConfig(Config):
    """How the model is asked."""

    prompt: str = prompts.SELF_EXPLANATION
    """What the model continues."""
    placeholder: str = prompts.PLACEHOLDER
    """What the direction takes the place of; it must be in the prompt."""
    scales: tuple[float, ...] = Field((0.5, 1.0, 2.0, 4.0), min_length=1)
    """Norms that are tried, in multiples of that of the activation that is replaced."""
    max_new_tokens: int = Field(12, gt=0)
    """Most tokens of an explanation."""
    stop: tuple[str, ...] = ('"', "\n")
    """Where an explanation ends."""


class SelfExplainer:
    """See `Explainer`.

    Args:
        model: whose latents they are, and who explains.
        dictionary: of the latents.
        site: where the direction is put; early sites leave the model room to read it.
        config: how it is asked.

    Raises:
        InputError: the placeholder is not in the prompt.
    """

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        site: Site | str,
        config: SelfExplainerConfig | None = None,
    ) -> None:
        self.model, self.dictionary, self.site = model, dictionary, site
        self.config = config or SelfExplainerConfig()
        before, found, _ = self.config.prompt.rpartition(self.config.placeholder)
        if not found:
            raise InputError(f"The prompt {self.config.prompt!r} has no placeholder {self.config.placeholder!r} in it.")
        self._ids = model.tokenizer.encode(self.config.prompt)
        # The last token that the placeholder has a part in: its prefix with the placeholder ends there.
        self._place = len(model.tokenizer.encode(before + found)) - 1
        with torch.no_grad(), model.capture(site) as got:
            model(torch.tensor([self._ids], device=model.device))
            self._norm = float(got[site][0, self._place].float().norm())

    @property
    def author(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def method(self) -> str:
        """The method's name in the atlas."""
        return "self-explanation"

    @property
    def version(self) -> str:
        """Version of the prompt."""
        return prompts.VERSION

    def explain(self, samples: Samples) -> Sequence[Explained]:
        """What the model says of each latent; those of which it says nothing, or that have no direction, are left
        out. Of the samples, the numbers of the latents alone are read."""
        said = ((latent, self._best(latent)) for latent in samples.latents.tolist())
        return [Explained(latent, text) for latent, text in said if text]

    @torch.no_grad()
    def _best(self, latent: int) -> str:
        direction = self.dictionary.directions[latent].detach().float()
        if not float(direction.norm()):
            return ""
        put = self._putting(direction / direction.norm())
        with self.model.edit(self.site, put):
            written = self.model.generate(
                [self._ids] * len(self.config.scales), max_new_tokens=self.config.max_new_tokens, stop=self.config.stop
            )
        texts = [" ".join(one.text.split()) for one in written]
        rows = [list(one.tokens) for one in written]
        with self.model.edit(self.site, put):
            patched = self._log_probabilities(rows)
        gain = patched - self._log_probabilities(rows)
        ranked = sorted(range(len(texts)), key=lambda i: -float(gain[i]))
        return next((texts[i] for i in ranked if texts[i]), "")

    def _putting(self, unit: Float[Tensor, " d"]) -> Callable[[Tensor], Tensor]:
        """An edit that puts the direction in its place, in each row at another scale.

        Steps of a generation that go on from a cache have one position, and are left alone.
        """
        scales = torch.tensor(self.config.scales) * self._norm
        vectors = scales[:, None] * unit.cpu()

        def put(x: Tensor) -> Tensor:
            if x.shape[1] <= self._place:
                return x
            x = x.clone()
            x[:, self._place] = vectors.to(x)
            return x

        return put

    def _log_probabilities(self, rows: list[list[int]]) -> Float[Tensor, " scales"]:
        """Mean log-probability of what was written in each row, after the prompt."""
        start, width = len(self._ids), max(map(len, rows))
        tokens = torch.tensor([self._ids + row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        logs = self.model(tokens)[:, start - 1 : -1].float().log_softmax(-1)
        told = logs.gather(-1, tokens[:, start:, None])[..., 0].cpu()
        kept = torch.arange(width) < torch.tensor([[len(row)] for row in rows])
        return (told * kept).sum(1) / kept.sum(1)
