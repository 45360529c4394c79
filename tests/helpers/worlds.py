"""Worlds with planted features, and scripted language models that read explanations to the letter.

A latent of such a world is active exactly on some words. Its true explanation is "the words a, b, c".
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from monosema.atlas import Explanation
from monosema.dictionaries import Metadata
from monosema.interpretation import prompts
from monosema.interpretation.samples import INACTIVE, KINDS, Samples
from monosema.interpretation.wording import unescape
from monosema.llm import Failure, Reply, Request, Usage
from monosema.llm.structured import checked
from monosema.models import Tokenizer, Transformer, random_model

SYLLABLES = ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru"]
WORDS = [a + b + c for a in SYLLABLES[:7] for b in SYLLABLES for c in SYLLABLES[:7]]
GROUP, WIDTH = 4, 12


def word_tokenizer(words: Sequence[str] = WORDS) -> Tokenizer:
    """One token a word, its space included."""
    vocabulary = {"<unk>": 0} | {f"▁{word}": 1 + i for i, word in enumerate(words)}
    raw = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    raw.decoder = decoders.Metaspace()
    return Tokenizer(raw)


def said(text: str, rule: str | None = None) -> Explanation:
    """An explanation by nobody in particular."""
    return Explanation("tests", "by hand", None, None, text, rule)


class World:
    """Latents 0, 2, 4, … are each active on words of their own; passages of both sides are given by hand."""

    def __init__(self, latents: int = 4, each: int = 12, seed: int = 0) -> None:
        self.tokenizer = word_tokenizer()
        self.latents = [2 * number for number in range(latents)]
        self.words = {latent: WORDS[GROUP * n : GROUP * (n + 1)] for n, latent in enumerate(self.latents)}
        self.background = WORDS[GROUP * latents :]
        self.draw = random.Random(seed)
        self.seen: set[tuple[int, ...]] = set()
        self.rows: list[tuple[int, int, bool, list[int], list[float]]] = []
        kinds = {"top": each, **{f"q{tenth}": each // 4 for tenth in range(10)}, "random": each}
        kinds |= {"inactive": 3 * each, "inactive near decoder": each, "inactive near firing": each}
        for latent in self.latents:
            for test in (False, True):
                for kind, number in kinds.items():
                    for _ in range(number):
                        self.add(latent, test, kind)
        self.samples = self.build()

    def add(self, latent: int, test: bool, kind: str) -> None:
        """A passage that no other is equal to."""
        while True:
            words = self.draw.choices(self.background, k=WIDTH)
            if kind == "inactive near decoder":
                words[self.draw.randrange(WIDTH)] = self.words[self.other(latent)][0]
            if KINDS.index(kind) < INACTIVE:
                for place in self.draw.sample(range(WIDTH), 2):
                    words[place] = self.draw.choice(self.words[latent])
            ids = self.tokenizer.encode(" ".join(words))
            if tuple(ids) not in self.seen:
                break
        self.seen.add(tuple(ids))
        strength = {"top": 10.0, "random": 5.0}.get(kind, 1.0 + int(kind[1:]) if kind[0] == "q" else 0.0)
        own = set(self.words[latent])
        self.rows.append((latent, KINDS.index(kind), test, ids, [strength * (word in own) for word in words]))

    def other(self, latent: int) -> int:
        """The next latent."""
        return self.latents[(self.latents.index(latent) + 1) % len(self.latents)]

    def build(self) -> Samples:
        counts = Counter(row[0] for row in self.rows)
        return Samples(
            ids=np.array([row[3] for row in self.rows], np.int64),
            hashes=np.arange(1, len(self.rows) + 1, dtype=np.uint64),
            latents=np.array(self.latents, np.int64),
            maximum=np.full(len(self.latents), 10.0),
            first=np.cumsum([0, *(counts[latent] for latent in self.latents)]),
            passage=np.arange(len(self.rows)),
            kind=np.array([row[1] for row in self.rows]),
            test=np.array([row[2] for row in self.rows]),
            activations=np.array([row[4] for row in self.rows]),
        )

    @property
    def oracle(self) -> dict[int, Explanation]:
        """True explanations."""
        return {latent: said(f"the words {', '.join(self.words[latent])}") for latent in self.latents}

    @property
    def wrong(self) -> dict[int, Explanation]:
        """Each latent has what is true of another."""
        return {latent: self.oracle[self.other(latent)] for latent in self.latents}

    @property
    def empty(self) -> dict[int, Explanation]:
        """Nothing is said of any."""
        return dict.fromkeys(self.latents, said(""))

    def tests(self) -> np.ndarray:
        """All entries of the test side."""
        return np.flatnonzero(self.samples.test)


def described(text: str) -> set[str]:
    """The words that a description names."""
    return set(re.findall(r"[a-z]+", text.partition("the words")[2]))


class Scripted:
    """A language model that does what the description says: `mind` is "oracle", "liar", "random" or "refusal"."""

    def __init__(self, mind: str = "oracle", share: float = 1.0) -> None:
        self.mind, self.share, self.model = mind, share, "scripted"
        self.draw = random.Random(0)
        # What the judge of intruders knows of the world.
        self.groups = [set(WORDS[start : start + GROUP]) for start in range(0, len(WORDS), GROUP)]
        self.asked: list[Request] = []

    def complete(self, requests: Sequence[Request], progress: object = None) -> list[Reply]:
        self.asked += requests
        return [self.reply(request) for request in requests]

    def reply(self, request: Request) -> Reply:
        usage = Usage(input_tokens=100, output_tokens=10)
        if self.mind == "refusal" and self.draw.random() < self.share:
            return Reply(failure=Failure(kind="refusal", detail="no"), usage=usage)
        return checked(Reply(text=self.answer(request), usage=usage), request)

    def answer(self, request: Request) -> str:
        system, user = (message.content for message in request.messages)
        if system == prompts.INTRUDER:
            return json.dumps({"passage": self.intruder(user)})
        if request.response_schema == prompts.EXPLANATION_SCHEMA:
            return json.dumps({"explanation": f"the words {', '.join(self.common(user))}"})
        description, _, rest = user.partition("\n\n")
        words = described(description)
        if request.response_schema is None:
            lines = rest.removeprefix("Tokens:\n").split("\n")
            return "\n".join(f"{line}\t{10 * self.say(unescape(line).strip() in words)}" for line in lines)
        passages = [line.partition(". ")[2] for line in rest.split("\n")]
        return json.dumps({"active": [bool(self.say(self.holds(system, passage, words))) for passage in passages]})

    def say(self, truth: bool) -> bool:
        return {"liar": not truth, "random": self.draw.random() < 0.5}.get(self.mind, truth)

    def holds(self, system: str, passage: str, words: set[str]) -> bool:
        read = re.findall(r"«([^»]*)»", passage) if system == prompts.FUZZING else [passage]
        return bool(words & set(re.findall(r"[a-z]+", " ".join(read))))

    def intruder(self, user: str) -> int:
        marked = [set(re.findall(r"[a-z]+", " ".join(re.findall(r"«([^»]*)»", line)))) for line in user.split("\n")]
        group = max(self.groups, key=lambda words: sum(bool(words & mine) for mine in marked))
        found = next(place for place, mine in enumerate(marked) if not group & mine)
        if self.mind == "liar":
            return (found + 1) % len(marked) + 1
        return self.draw.randrange(len(marked)) + 1 if self.mind == "random" else found + 1

    def common(self, user: str) -> list[str]:
        """The tokens that are active in what is shown, in either form."""
        shown = user.partition("Passage 1:")[2].partition("INACTIVE")[0]
        found = re.findall(r"^ ?([a-z]+)\t[1-9]", shown, re.MULTILINE)
        found += [word for part in re.findall(r"«([^»]*)»", shown) for word in part.split()]
        return sorted(set(found))


class CopyModel:
    """A language model that expects the words that it has read: logits are 5 for those, 0 for all others."""

    name = digest = "copy"
    d_model = n_layers = n_heads = 1
    context = 256
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.vocab = tokenizer, tokenizer.vocab_size

    def __call__(
        self, tokens: Tensor, attention_mask: Tensor | None = None, cache: object = None, roles: object = None
    ) -> Tensor:
        seen = torch.nn.functional.one_hot(tokens, self.vocab).cumsum(1).clamp(max=1)
        return 5.0 * seen.float()

    def sites(self) -> list[object]:
        return []

    site_width = capture = edit = attach = activations = unembed = generate = stream = sites


class OneHot(torch.nn.Module):
    """An encoder with a direction of its own for each word, and none for what is no word."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.eye(vocab) * (torch.arange(vocab) > 0)[:, None])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]


class PlantedDictionary:
    """Latent j's direction raises the logits of its words, in a model whose last site is near its output."""

    def __init__(self, world: World, model: Transformer) -> None:
        embedding = model.embed.weight.detach()
        self.n_latents, self.metadata = max(world.latents) + 1, Metadata()
        self.d_in = self.d_out = embedding.shape[1]
        self.directions = torch.zeros(self.n_latents, self.d_in)
        for latent, words in world.words.items():
            self.directions[latent] = embedding[[world.tokenizer.id(word) for word in words]].mean(0)
        for latent in set(range(self.n_latents)) - set(world.latents):
            ids = [world.tokenizer.id(word) for word in world.background[latent : latent + GROUP]]
            self.directions[latent] = embedding[ids].mean(0)

    def to(self, device: object) -> object:
        return self

    def encode(self, x: Tensor, matmul_dtype: object = None) -> object:
        raise NotImplementedError

    decode = __call__ = encode


def word_model(world: World) -> Transformer:
    """A random model over the words of a world, its embedding tied to its output."""
    config = random_model().config.replace(vocab=world.tokenizer.vocab_size, d_model=64, d_head=16)
    model = random_model(config)
    model._tokenizer = world.tokenizer
    with torch.no_grad():
        model.embed.weight *= 2
    return model
