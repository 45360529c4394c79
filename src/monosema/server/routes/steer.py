"""Answers about steerings for the playground: price, strength for a price, baselines of the same, and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Response
from pydantic import Field

from monosema.core import InputError, MonosemaError, numpy_generator
from monosema.core.language import translate
from monosema.models import LanguageModel
from monosema.server import sweeps  # noqa: F401 – registers its kind
from monosema.server.costs import Prices
from monosema.server.desk import divergence, likeliest
from monosema.server.library import ServedRun
from monosema.server.state import Served, Serving, Spoken
from monosema.server.steerings import steering_of
from monosema.server.text import Asking, OnPrompt
from monosema.steering import write_steering

router = APIRouter(prefix="/api/steer", tags=["steer"])
T = TypeVar("T")
Spec = dict[str, Any]


class OnRun(OnPrompt):
    """A prompt; `run` names whose model and dictionary are used, the newest without."""

    run: str | None = Field(None, max_length=200)


class AskedCosts(OnRun):
    """Steerings to price; null for none."""

    steerings: list[Spec | None] = Field(min_length=1, max_length=65)


class AskedStrength(OnRun):
    """A steering and the price that it is to have."""

    steering: Spec
    kl: Annotated[float, Field(gt=0, le=20)]


class AskedHeld(OnRun):
    """A steering, and tokens that stand after the prompt."""

    steering: Spec
    written: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(min_length=1, max_length=2000)
    likely: int = Field(5, ge=1, le=20)


class AskedFile(Asking):
    """A steering to be saved, of a run's features."""

    run: str | None = Field(None, max_length=200)
    steering: Spec


Format = Literal["toml", "json", "safetensors", "gguf"]


class AskedBaselines(OnRun):
    """A steering whose price others are to have."""

    steering: Spec
    seed: int = Field(0, ge=0, lt=2**31)


@router.post("/cost")
def cost(asked: AskedCosts, served: Served, spoken: Spoken) -> dict[str, Any]:
    """Price steerings on a prompt: KL in nats a token, and `problem` where one can't be applied."""

    def price(run: ServedRun, model: LanguageModel, prices: Prices) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for spec in asked.steerings:
            if spec is None or not spec.get("edits"):
                found.append({"kl": None, "problem": None})
                continue
            try:
                (one,) = prices.costs([steering_of(run, model, spec)])
            except InputError as error:
                found.append({"kl": None, "problem": translate(str(error), spoken)})
                continue
            said = "none of the tokens is one that its place names" if one.unmatched else None
            found.append({"kl": one.kl, "problem": said})
        return {"costs": found}

    return _on_prompt(asked, served, price)


@router.post("/solve")
def solve(asked: AskedStrength, served: Served) -> dict[str, Any]:
    """Find the factor of a steering at which it has a price; null where none has."""

    def find(run: ServedRun, model: LanguageModel, prices: Prices) -> dict[str, Any]:
        return {"strength": prices.strength(steering_of(run, model, asked.steering), asked.kl)}

    return _on_prompt(asked, served, find)


@router.post("/baselines")
def baselines(asked: AskedBaselines, served: Served) -> dict[str, Any]:
    """Give a random latent and a random direction at the price of a steering; `absent` says why one is not there."""

    def make(run: ServedRun, model: LanguageModel, prices: Prices) -> dict[str, Any]:
        (own,) = prices.costs([steering_of(run, model, asked.steering)])
        if own.kl <= 0:
            raise InputError("The steering changes nothing here, so nothing can be as strong: raise its strength.")
        alike: list[Spec] = []
        absent: list[Spec] = []
        for name, edit in _candidates(run, asked):
            strength = prices.strength(steering_of(run, model, {"edits": [edit]}), own.kl)
            if strength is None:
                absent.append({"name": name, "reason": f"no strength reaches {own.kl:.3g} nats a token"})
            else:
                alike.append({"name": name, "edits": [{**edit, "add": edit["add"] * strength}]})
        return {"kl": own.kl, "baselines": alike, "absent": absent}

    return _on_prompt(asked, served, make)


@router.post("/held")
def held(asked: AskedHeld, served: Served) -> dict[str, Any]:
    """Read a text steered, with attention held at the untouched model's: KL in nats for each written token, and beside
    it that with attention free; the likeliest tokens with attention held, and of the untouched model."""

    def read(run: ServedRun, model: LanguageModel, prices: Prices) -> dict[str, Any]:
        found = prices.held(steering_of(run, model, asked.steering))
        texts = model.tokenizer.tokens(asked.written)
        tokens = [
            {
                "token": id,
                "text": text,
                "kl": divergence(kept, plain),
                "free": divergence(free, plain),
                "likely": likeliest(kept, asked.likely, model.tokenizer),
                "untouched": likeliest(plain, asked.likely, model.tokenizer),
            }
            for id, text, kept, free, plain in zip(
                asked.written, texts, found.held, found.free, found.untouched, strict=True
            )
        ]
        return {"tokens": tokens}

    return _on_prompt(asked, served, read, asked.written)


@router.post("/save", response_class=Response)
def save(asked: AskedFile, served: Served, format: Format = "toml") -> Response:
    """Give a steering as a file: TOML or JSON for monosema, safetensors, or a control vector in GGUF.

    A control vector acts on all tokens, wherever the steering does.
    """
    run = served.library.runs()[0] if asked.run is None else served.library[asked.run]

    def write(model: LanguageModel) -> bytes:
        steering = steering_of(run, model, asked.steering)
        if format == "gguf":  # these hold all tokens
            steering = steering.everywhere()
        with TemporaryDirectory() as folder:
            return write_steering(Path(folder) / f"steering.{format}", steering, model).read_bytes()

    headers = {"content-disposition": f'attachment; filename="steering.{format}"'}
    return Response(served.with_model(run, write), media_type="application/octet-stream", headers=headers)


def _candidates(run: ServedRun, asked: AskedBaselines) -> list[tuple[str, Spec]]:
    """Return baselines by name, at the place of the steering's first edit."""
    place = {key: value for key, value in asked.steering["edits"][0].items() if key in _PLACE}
    name = "random direction"
    edit = {"direction": {"name": name, "random": asked.seed}, "add": 1.0, "unit": "norm", **place}
    found: list[tuple[str, Spec]] = [(name, edit)]
    try:
        alive = [row["latent"] for row in run.atlas.features(sort="latent", limit=None)]
    except MonosemaError:
        return found
    latent = int(numpy_generator(asked.seed, "random latent").choice(alive))
    return [(f"random latent {latent}", {"latent": latent, "add": 1.0, "unit": "max", **place}), *found]


_PLACE = ("site", "prompt", "generated", "special", "template")


def _on_prompt(
    asked: OnRun,
    served: Serving,
    work: Callable[[ServedRun, LanguageModel, Prices], T],
    written: Sequence[int] | None = None,
) -> T:
    run = served.library.runs()[0] if asked.run is None else served.library[asked.run]
    return served.with_model(run, lambda model: work(run, model, Prices(model, asked.given, written)))
