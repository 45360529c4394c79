"""A table of effects from a task's name: prompts, skill, places, and whichever kind of patching was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import Field

from monosema.attribution.tasks import named_task
from monosema.circuits.ablations import ablation_named
from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.judging import require_skill
from monosema.circuits.memory import forward_bytes, rows_within
from monosema.circuits.metrics import Metric, metric_of
from monosema.circuits.patching import Direction, Patching, Said, patching
from monosema.circuits.paths import mediation, path_effects
from monosema.circuits.places import PLACES, Naming, Positions
from monosema.circuits.units import Ranked, rank_latents, rank_neurons
from monosema.core import Config, Estimate, InputError, Site, nearest
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel, Transformer, require_decoder


class PatchConfig(Config):
    """Settings of a table of effects."""

    what: str = "residual"
    """Name of what is exchanged: one of `PLACES`, or neurons, latents, effects, paths."""
    direction: Direction = "noising"
    """The question: noising asks what is needed, denoising what is enough."""
    ablation: str = "resample"
    """Name of what stands in, where places are noised."""
    metric: str | None = None
    """Name of the metric; None for the task's own."""
    prompts: int = Field(32, ge=2)
    """Held-out prompts; of a file, at most so many."""
    positions: Naming = "roles"
    """Columns of tables by position: roles of words, or each token."""
    paths: tuple[str, ...] = ()
    """Paths, where what is paths."""
    top: int = Field(20, ge=1)
    """Neurons or latents that are measured, and as many drawn at random."""
    seed: int = 0
    """Seed of prompts and draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchTable:
    """A table with what is known of its prompts.

    Attributes:
        config: what was asked.
        contrasts: the prompts.
        accuracy: share of them that the model answers rightly.
        result: the table, or ranks of units.
    """

    config: PatchConfig
    contrasts: Contrasts
    accuracy: Estimate
    result: Patching | Ranked

    @property
    def table(self) -> Patching:
        """The table alone."""
        return self.result.table if isinstance(self.result, Ranked) else self.result

    @property
    def verdict(self) -> str:
        """The result in a sentence; of ranked units it counts single ones, as they were measured."""
        table, apart, kind = self.table, self.table.told_apart, "effects"
        total = apart.numel()
        places = table.largest(total)
        if isinstance(self.result, Ranked):
            singles, kind = self.result.largest + self.result.drawn, "measured single units"
            apart = apart[:singles, :1]
            places = [(row, column) for row, column in places if row < singles and column == 0]
        row, column = places[0]
        plain = isinstance(self.result, Ranked) or len(table.columns) == 1
        name = table.rows[row] if plain else f"{table.rows[row]}, {table.columns[column]}"
        share = percents(table.share(row, column))
        told = (
            f"{int(apart.sum())} of {apart.numel()} {kind} are told from chance, corrected for all {total} figures of "
            f"the table (intervals are not); the largest, {name}"
        )
        if table.direction == "noising":
            return f"{told}, costs {share} of the difference."
        return f"{told}, restores {share} of the difference."


@dataclass(frozen=True, eq=False)
class _Asked:
    model: Transformer
    prompts: Contrasts
    metric: Metric
    config: PatchConfig
    dictionary: tuple[Dictionary, Site] | None
    said: Said

    def places(self) -> Patching:
        positions = Positions.of(self.prompts, self.model, self.config.positions)
        ablation, direction = ablation_named(self.config.ablation), self.config.direction
        return patching(
            self.model,
            self.prompts,
            self.config.what,
            self.metric,
            ablation=ablation,
            direction=direction,
            positions=positions,
            said=self.said,
        )

    def effects(self) -> Patching:
        self._require_noising()
        ablation = ablation_named(self.config.ablation)
        return mediation(self.model, self.prompts, self.metric, ablation=ablation, said=self.said)

    def paths(self) -> Patching:
        self._require_noising()
        if not self.config.paths:
            raise InputError("--what paths needs paths: give some with --path, as in a0.h1->a3.h5<q>->logits.")
        ablation, paths = ablation_named(self.config.ablation), self.config.paths
        return path_effects(self.model, self.prompts, paths, self.metric, ablation=ablation, said=self.said)

    def neurons(self) -> Ranked:
        one = self.config
        ablation = ablation_named(one.ablation)
        return rank_neurons(
            self.model,
            self.prompts,
            self.metric,
            n=one.top,
            ablation=ablation,
            direction=one.direction,
            seed=one.seed,
        )

    def latents(self) -> Ranked:
        if self.dictionary is None:
            raise InputError(
                "--what latents needs a dictionary: give a run, or a dictionary in any format, with --run."
            )
        one, (dictionary, site) = self.config, self.dictionary
        ablation = ablation_named(one.ablation)
        return rank_latents(
            self.model,
            self.prompts,
            self.metric,
            dictionary,
            site,
            n=one.top,
            ablation=ablation,
            direction=one.direction,
            seed=one.seed,
        )

    def _require_noising(self) -> None:
        if self.config.direction != "noising":
            raise InputError(f"--what {self.config.what} is of noising alone: leave out --direction.")


OTHERS: Mapping[str, Callable[[_Asked], Patching | Ranked]] = {
    "neurons": _Asked.neurons,
    "latents": _Asked.latents,
    "effects": _Asked.effects,
    "paths": _Asked.paths,
}
"""Tables that can be asked for besides those of `PLACES`."""


def patch_table(
    model: LanguageModel,
    task: str,
    config: PatchConfig,
    dictionary: tuple[Dictionary, Site] | None = None,
    said: Said = lambda _: None,
) -> PatchTable:
    """Return the table of a task.

    Args:
        task: name of a task, or a file of prompts.
        dictionary: the one whose latents are ranked, and the site that it reads.
        said: told what is being done.

    Raises:
        InputError: names that there are not, a task that the model can't do, no difference between clean and corrupted.
        UnsupportedModelError: a model of another library.
    """
    decoder = require_decoder(model)
    if config.what not in PLACES and config.what not in OTHERS:
        names = [*PLACES, *OTHERS]
        raise InputError(f"There is no --what {config.what!r}.{nearest(config.what, names)} Give {', '.join(names)}.")
    prompts = contrasts(named_task(task, config.prompts, config.seed), decoder)
    accuracy = require_skill(decoder, prompts)
    metric, parts = metric_of(prompts, decoder, config.metric), prompts
    if ablation_named(config.ablation).by_prompt:
        # Values of both prompts at all sites, and what is kept to go back.
        longest = max(group.clean.shape[1] for group in prompts)
        parts = prompts.within(rows_within(3 * forward_bytes(decoder, longest, kept=True)))
    asked = _Asked(decoder, parts, metric, config, dictionary, said)
    result = OTHERS.get(config.what, _Asked.places)(asked)
    return PatchTable(config=config, contrasts=prompts, accuracy=accuracy, result=result)


def percents(share: Estimate) -> str:
    """Return a share with its interval, in per cent."""
    value, low, high = (f"{round(100 * number)}" for number in (share.value, share.low, share.high))
    return f"{value} % [{low}, {high}]"
