"""Experiments of Cunningham et al. 2023 (arXiv:2309.08600) as an open list: each trains what it needs, and answers in a
sentence. What is finished in the folder is kept, so an experiment that was killed goes on.

EXP/activations/     captured activations
EXP/dictionaries/    one for each site, α and seed
EXP/parts/           results of single dictionaries
EXP/index.html, result.md, result.json, *.svg
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from monosema.core import Config, ConfigError, InputError, RunError, Site, digest, nearest, read_json, write_json
from monosema.models import LanguageModel, load_model
from monosema.pages.experiment import ExperimentPage
from monosema.runs.experiments.trained import TrainingChoice


class ExperimentConfig(Config):
    """Settings of an experiment; each has the fields that its `Experiment` names besides."""

    layers: tuple[int, ...] = ()
    """Layers whose residual stream is looked at; none means what the experiment says."""
    prompts: int = Field(50, gt=0)
    """Prompts that are chosen with; as many others are measured on."""
    thresholds: int = Field(7, gt=1)
    """Of ioi: divergences that dropping a feature may add, up to 1 (the paper: 50)."""
    finest: float = Field(1e-3, gt=0, lt=1)
    """Of ioi: the smallest of them (the paper: 1e-5)."""
    latents: tuple[str, ...] = ()
    """Of shift: latents of the first penalised dictionaries to ablate, LAYER.LATENT, besides those of the rule."""
    dims: int = Field(1, gt=0)
    """Of align: dimensions of the subspace."""
    seed: int = 0
    """Of prompts and orders."""
    training: TrainingChoice = TrainingChoice()
    """The dictionaries."""


@dataclass(frozen=True)
class Work:
    """An experiment at work on a folder.

    Attributes:
        model: in float32, as causal claims need it.
        folder: where everything is kept.
        config: its settings.
        device: where to compute; None for the best there is.
        source: what the model was loaded from; None where it can't be loaded again.
    """

    model: LanguageModel
    folder: Path
    config: ExperimentConfig
    device: str | None = None
    source: str | None = None

    @property
    def reader(self) -> LanguageModel:
        """The model in the precision that is fastest here, as a run captures activations."""
        return self.model if self.source is None else load_model(self.source, device=self.device)

    def sites(self, default: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the residual stream after each chosen layer. Raises ConfigError for layers that there are not."""
        layers = self.config.layers or default
        if wrong := [layer for layer in layers if not 0 <= layer < self.model.n_layers]:
            raise ConfigError(
                f"--layers {','.join(map(str, wrong))} is not valid: {self.model.name} has layers 0 to "
                f"{self.model.n_layers - 1}."
            )
        return tuple(Site(layer, "resid_post") for layer in dict.fromkeys(layers))

    def part(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a part of the result, made once."""
        path = self.folder / "parts" / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, make())
            self._begun(name).unlink(missing_ok=True)
        found: dict[str, Any] = read_json(path)
        return found

    def kept(self, name: str) -> list[Any]:
        """Return what was kept of a part that is not finished; nothing where it was not begun."""
        return read_json(self._begun(name)) if self._begun(name).exists() else []

    def keep(self, name: str, found: list[Any]) -> None:
        """Keep what has been found of a part so far."""
        write_json(self._begun(name), found)

    def _begun(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.begun.json"


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: key of `EXPERIMENTS`.
        about: one line for people.
        run: does it.
    """

    name: str
    about: str
    run: Callable[[Work], ExperimentPage]


EXPERIMENTS: dict[str, Experiment] = {}
"""Experiments by name."""


def register_experiment(experiment: Experiment) -> None:
    """Add an experiment. Raises ConfigError where its name is taken."""
    if experiment.name in EXPERIMENTS:
        raise ConfigError(f"There is an experiment {experiment.name!r} already.")
    EXPERIMENTS[experiment.name] = experiment


def experiment_named(name: str) -> Experiment:
    """Return an experiment by its name. Raises InputError where there is none."""
    if name not in EXPERIMENTS:
        raise InputError(
            f"There is no experiment {name!r}.{nearest(name, EXPERIMENTS)} Experiments: {', '.join(EXPERIMENTS)}."
        )
    return EXPERIMENTS[name]


def run_experiment(
    name: str, model: str, folder: Path, config: ExperimentConfig, device: str | None = None, update: bool = False
) -> ExperimentPage:
    """Do an experiment, or go on with it, and write its page.

    Args:
        update: begin anew where the folder holds it with other settings; activations and dictionaries go too.

    Raises:
        InputError: no such experiment, or a task that the model can't do.
        RunError: the folder holds the experiment with other settings, and `update` is False.
    """
    experiment = experiment_named(name)
    lm = load_model(model, device=device, dtype="float32")
    work = Work(lm, folder, config, device, model)
    work.sites(())  # layers that there are not are refused before anything is written
    asked = {"experiment": name, "model": lm.name, "digest": lm.digest, **config.to_dict()}
    # They are chosen after a look at what the same dictionaries gave.
    del asked["latents"]
    if name != "align":
        del asked["dims"]
    path = folder / "experiment.json"
    if path.exists() and digest(read_json(path)) != digest(asked):
        if not update:
            raise RunError(
                f"{folder} holds an experiment with other settings. Choose another folder with --out, or begin anew "
                "with --update."
            )
        import shutil

        for part in ("activations", "dictionaries", "parts"):
            shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)
    page = experiment.run(work)
    page.write(folder)
    return page
