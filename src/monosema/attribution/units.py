"""Players inside of the model: attention heads, neurons, and latents of a dictionary.

    heads, neurons   x ← x₀ + c (x − x₀),   x₀ = its value on the counterfactual twin, or 0
    latents          x ← x − Σ_j (1 − c_j) a_j d_j,   so that what the dictionary does not explain stays

A head or neuron is one player at all positions together, and so is a latent at all tokens where it is active on the
clean prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.players import Pass
from monosema.attribution.question import Question
from monosema.core import InputError, Site, UnsupportedModelError, VectorError
from monosema.dictionaries import Dictionary, SparseCoder, sites_read, written_at
from monosema.interventions import TEXT
from monosema.models import Action, LanguageModel

MOST = 32
"""Units that are kept as players where there are more, by the size of their first-order estimate."""


@dataclass(frozen=True, eq=False)
class Units:
    """Heads or neurons.

    Attributes:
        ids: the prompt's tokens.
        names: `a2.h7` for heads, `m2.n17` for neurons.
        places: layer and index of each.
        component: site in each block, `z` or `mlp.post`.
        removal: twin or zero.
        absent_values: what stands for them, by layer, of one row.
    """

    ids: Int[Tensor, " pos"]
    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    component: str
    removal: str
    absent_values: tuple[Float[Tensor, "1 total ..."], ...]

    def absent(self, present: Bool[Tensor, "m n"]) -> Pass:
        """Return the passes with just these units."""
        return self.mixed(present.float())

    def mixed(self, at: Float[Tensor, "m n"]) -> Pass:
        """Return the passes with units between those of absent and present."""
        edits = [(Site(layer, self.component), self._blend(layer, at)) for layer in {layer for layer, _ in self.places}]
        return Pass(self.ids.expand(len(at), -1), None, edits)

    def only(self, chosen: Sequence[int]) -> Units:
        """Return some of the units; the others are always present."""
        return replace(self, names=tuple(self.names[i] for i in chosen), places=tuple(self.places[i] for i in chosen))

    def _blend(self, layer: int, at: Float[Tensor, "m n"]) -> Action:
        stand_in = self.absent_values[layer]
        own = [player for player, (of, _) in enumerate(self.places) if of == layer]
        columns = torch.tensor([self.places[player][1] for player in own], device=at.device)
        width = stand_in.shape[2]
        weights = at.new_ones(len(at), width).index_copy(1, columns, at[:, own])
        # m × 1 × heads × 1, or m × 1 × neurons.
        weights = weights.view(len(at), 1, width, *[1] * (stand_in.ndim - 3))
        return lambda x, _: torch.lerp(stand_in.to(x), x, weights.to(x))


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of a dictionary that are active on the prompt.

    Attributes:
        ids: the prompt's tokens.
        indices: the latents.
        site: where the dictionary writes.
        activations: of each at each position; 0 at special tokens.
        directions: of each.
    """

    ids: Int[Tensor, " pos"]
    indices: tuple[int, ...]
    site: Site
    activations: Float[Tensor, "pos n"]
    directions: Float[Tensor, "n d_out"]

    removal = "zero"

    @property
    def names(self) -> tuple[str, ...]:
        """Their numbers."""
        return tuple(map(str, self.indices))

    def absent(self, present: Bool[Tensor, "m n"]) -> Pass:
        """Return the passes with just these latents."""
        return self.mixed(present.float())

    def mixed(self, at: Float[Tensor, "m n"]) -> Pass:
        """Return the passes with latents at a share of their activations."""

        def take_out(x: Tensor, _: object) -> Tensor:
            gone = (1 - at)[:, None] * self.activations  # m × pos × n
            change = (gone @ self.directions).view(len(at), len(self.ids), *x.shape[2:])
            n = len(self.ids)
            return torch.cat([x[:, :n] - change.to(x), x[:, n:]], dim=1)

        return Pass(self.ids.expand(len(at), -1), None, [(self.site, take_out)])

    def only(self, chosen: Sequence[int]) -> Latents:
        """Return some of the latents; the others are always present."""
        return replace(
            self,
            indices=tuple(self.indices[i] for i in chosen),
            activations=self.activations[:, [*chosen]],
            directions=self.directions[[*chosen]],
        )


def heads_of(model: LanguageModel, question: Question, removal: str | None = None) -> Units:
    """Return all attention heads as players. Raises InputError and UnsupportedModelError as `neurons_of`."""
    return _units(model, question, "z", "a{}.h{}", model.n_heads, removal)


def neurons_of(model: LanguageModel, question: Question, removal: str | None = None) -> Units:
    """Return all neurons of all MLPs as players.

    Raises:
        InputError: another removal than twin or zero, or a twin that there is not.
        UnsupportedModelError: a model of another library, which has no such sites.
    """
    return _units(model, question, "mlp.post", "m{}.n{}", None, removal)


@torch.no_grad()
def latents_of(
    model: LanguageModel, question: Question, dictionary: Dictionary, site: Site | str | None = None
) -> Latents:
    """Return the latents of a dictionary that are active on the prompt.

    Raises:
        InputError: the dictionary does not say its site, or nothing is active.
        VectorError: a dictionary that normalises rows, whose latents have no direction of their own.
    """
    place = site or dictionary.metadata.site
    if place is None:
        raise InputError("The dictionary does not say at which site it reads: name the site.")
    if isinstance(dictionary, SparseCoder) and dictionary.normalisation != "none":
        raise VectorError("This dictionary normalises rows, so its latents have no direction of their own to take out.")
    sites = sites_read(dictionary, Site.parse(place))
    ids = torch.tensor(question.ids, device=model.device)
    got = model.activations(ids[None], sites)
    rows = torch.cat([got[one][0].flatten(1) for one in sites], dim=1).float()
    codes = dictionary.encode(rows).dense().float()
    writer, written = written_at(dictionary, sites[-1])
    text = torch.tensor([role in TEXT for role in question.roles], device=codes.device)
    codes = codes * text[:, None]
    active = codes.any(0).nonzero()[:, 0]
    if not len(active):
        raise InputError("No latent of the dictionary is active on this prompt.")
    directions = writer.directions.detach()[active].float()
    return Latents(ids, tuple(active.tolist()), written, codes[:, active], directions)


def strongest(game: Game, most: int = MOST) -> Game:
    """Return the game among the players whose first-order estimates are the largest, in the order of their size.

    Raises InputError for players that are tokens.
    """
    players = game.players
    if not isinstance(players, (Units, Latents)):
        raise InputError("Tokens are players all together: there are no largest among them.")
    _, slopes = game.gradient(torch.ones(1, len(game)))
    chosen = slopes[0].abs().topk(min(most, len(game))).indices.tolist()
    return game.among(players.only(chosen))


@torch.no_grad()
def _units(
    model: LanguageModel, question: Question, component: str, name: str, per_layer: int | None, removal: str | None
) -> Units:
    chosen = removal or ("zero" if question.twin is None else "twin")
    if chosen not in ("twin", "zero"):
        raise InputError(f"The removal {chosen!r} is for tokens: of heads and neurons, twin or zero stands for absent.")
    if chosen == "twin" and question.twin is None:
        raise InputError("This prompt has no counterfactual twin: give one, as many tokens long, or take zero.")
    sites = [Site(layer, component) for layer in range(model.n_layers)]
    if not {*sites} <= {*model.sites()}:
        raise UnsupportedModelError(
            f"{model.name!r} runs by another library, whose heads and neurons are not sites: take a model of a family "
            "that is read into our own decoder (see docs/models.md)."
        )
    read = question.ids if chosen == "zero" else question.twin
    assert read is not None
    got = model.activations(torch.tensor([[*read, *question.target.given]], device=model.device), sites)
    values = tuple(got[site].float() * (chosen == "twin") for site in sites)
    n = per_layer or values[0].shape[-1]
    places = tuple((layer, index) for layer in range(model.n_layers) for index in range(n))
    ids = torch.tensor(question.ids, device=model.device)
    return Units(ids, tuple(name.format(*place) for place in places), places, component, chosen, values)
