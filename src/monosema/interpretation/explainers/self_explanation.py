"""Self-explanation: a model is asked what a direction in it means, with the direction in the place of a word.

A chat model is asked ``What is the meaning of the word " X"?``, and its answer is begun for it: ``The meaning of the
word " X" is "``. In that pass the activation at each place of X is replaced by s · n · d / ‖d‖, with d the latent's
direction, n the norm of the activation that it replaces, and s one of several scales (SelfIE, Chen et al. 2024, arXiv
2403.10949; Patchscopes, Ghandeharioun et al. 2024, arXiv 2401.06102). Of what it writes at the scales, the explanation
is that which it is most confident of:

    confidence = mean over the words written of  log p(word | with the direction) − log p(word | with the placeholder),

so that what the sentence alone would lead to does not count. (Departure: those papers choose a scale by hand, or by
the entropy of the first word.) Nothing but the direction is shown to the model: no passages, and no other model.

A model that was never taught to answer has no chat template and is refused, unless it is told to continue plain text
(`question=None`). What a model says is worth as much as its way with words: score it before it is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.atlas import Explanation
from monosema.atlas.feature import Identity
from monosema.core import Config, InputError, Progress, SilentProgress, Site
from monosema.dictionaries import Dictionary
from monosema.interpretation import prompts
from monosema.interpretation.samples import Samples
from monosema.models import LanguageModel


class SelfExplainerConfig(Config):
    """Settings of the questions to the model."""

    question: str | None = prompts.SELF_QUESTION
    """The question to a chat model; None for a model without a chat template, which continues plain text."""
    prompt: str = prompts.SELF_EXPLANATION
    """Beginning of its answer, or the plain text."""
    placeholder: str = prompts.PLACEHOLDER
    """The word whose place the direction takes; it must be in the prompt, and is replaced in the question, too."""
    scales: tuple[float, ...] = Field((0.5, 1.0, 2.0, 4.0), min_length=1)
    """Norms that are tried, in multiples of the norm of the replaced activation."""
    max_new_tokens: int = Field(12, gt=0)
    """Most tokens of an explanation."""
    stop: tuple[str, ...] = ('"', "\n")
    """Texts that end an explanation."""


class SelfExplainer:
    """See `Explainer`.

    Args:
        model: the model that the latents belong to; it explains them.
        dictionary: of the latents.
        site: receives the direction; early sites leave the model room to read it.
        config: how it is asked.

    Raises:
        InputError: the placeholder is not in the prompt, or there is a question and the model has no chat template.
    """

    @staticmethod
    def check(model: LanguageModel) -> None:
        """Raise an InputError where the model can't be asked."""
        _asked(model, SelfExplainerConfig())

    def __init__(
        self,
        model: LanguageModel,
        dictionary: Dictionary,
        site: Site | str,
        config: SelfExplainerConfig | None = None,
    ) -> None:
        self.model, self.dictionary, self.site = model, dictionary, Site.parse(site)
        self.config = config or SelfExplainerConfig()
        self._ids, self._places = _asked(model, self.config)
        with torch.no_grad(), model.capture(self.site) as got:
            model(torch.tensor([self._ids], device=model.device))
            self._norms = [float(got[self.site][0, place].float().norm()) for place in self._places]

    @property
    def identity(self) -> Identity:
        """Author, method, model and prompt version in the atlas; the method names the site, as the model says other
        things at another one."""
        return self.model.name, f"self-explanation ({self.site.short})", self.model.name, prompts.VERSION

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Ask the model about each latent. Of the samples, only the numbers of the latents are read."""
        return self.explain_latents(samples.latents.tolist())

    def explain_latents(self, latents: Sequence[int], progress: Progress | None = None) -> dict[int, Explanation]:
        """Ask the model about latents; those without a direction or an answer are left out."""
        progress = progress or SilentProgress()
        explanations = {}
        for latent in latents:
            if text := self._best(latent):
                explanations[latent] = Explanation(*self.identity, text)
            progress.advance(1)
        return explanations

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
        """Return an edit that puts the direction in its positions, in each row at another scale.

        Steps of a generation that go on from a cache have one position, and are left alone.
        """
        vectors = torch.tensor(self.config.scales)[:, None] * unit.cpu()

        def put(x: Tensor) -> Tensor:
            if x.shape[1] <= max(self._places):
                return x
            x = x.clone()
            for place, norm in zip(self._places, self._norms, strict=True):
                x[:, place] = (norm * vectors).to(x).reshape(x[:, place].shape)
            return x

        return put

    def _log_probabilities(self, rows: list[list[int]]) -> Float[Tensor, " scales"]:
        """Return the mean log-probability of each row's tokens after the prompt."""
        start, width = len(self._ids), max(map(len, rows))
        tokens = torch.tensor([self._ids + row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        logs = self.model(tokens)[:, start - 1 : -1].float().log_softmax(-1)
        told = logs.gather(-1, tokens[:, start:, None])[..., 0].cpu()
        kept = torch.arange(width) < torch.tensor([[len(row)] for row in rows])
        return (told * kept).sum(1) / kept.sum(1)


def _asked(model: LanguageModel, config: SelfExplainerConfig) -> tuple[list[int], list[int]]:
    """Return the token ids that the model goes on from, and the positions of the placeholder in them."""
    tokenizer, name = model.tokenizer, config.placeholder
    if name not in config.prompt:
        raise InputError(f"The prompt {config.prompt!r} has no placeholder {name!r} in it.")
    before, asked = "", ""
    if config.question is not None:
        if tokenizer.chat_template is None:
            raise InputError(
                f"The model {model.name} has no chat template: it was taught to continue texts, not to answer, so it "
                "can't say what a direction in it means. Self-explanation needs a chat model. Explain this one by "
                "programs, or with --client."
            )
        asked = tokenizer.chat_template.render([{"role": "user", "content": config.question}])
        before = asked.partition(config.question)[0]
        if before == asked:
            raise InputError(f"The chat template of {model.name} changes the question {config.question!r}.")
    text = asked + config.prompt
    ends = _ends(config.question or "", name, len(before)) + _ends(config.prompt, name, len(asked))
    special = not asked
    # The last token that the placeholder has a part in: the text up to and with the placeholder ends there.
    return tokenizer.encode(text, special), [len(tokenizer.encode(text[:end], special)) - 1 for end in ends]


def _ends(text: str, name: str, start: int) -> list[int]:
    """Return the end of each occurrence of a name in a text that starts at `start`."""
    return [start + found.end() for found in re.finditer(re.escape(name), text)]
