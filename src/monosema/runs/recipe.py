"""A recipe: all that decides what a run makes, as one value that TOML can hold."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from monosema.activations import CaptureConfig
from monosema.atlas import AtlasConfig
from monosema.core import (
    Config,
    ConfigError,
    FormatError,
    Site,
    atomic_path,
    choose_device,
    choose_dtype,
    choose_product,
)
from monosema.data import Split, TextConfig
from monosema.dictionaries import DictionaryChoice
from monosema.evaluation import EvaluationConfig
from monosema.interpretation import ExplainConfig, SampleConfig, ScoringConfig
from monosema.items import is_vectors
from monosema.runs.directions import is_directions
from monosema.runs.sites import OneSite, SiteList, in_both_models, site_text, sites_of
from monosema.training import TrainConfig

SHORT_KEYS = {
    "model": "model.name",
    "corpus": "corpus.source",
    "tokens": "text.tokens",
    "window": "text.window",
    "latents": "dictionary.n_latents",
    "batch": "stream.batch",
    "title": "report.title",
}
"""Short names on the command line, for keys whose last part is not theirs alone or not what one would say."""


class ModelChoice(Config):
    """The language model."""

    name: str = "specimen"
    """``specimen`` (the embedded model), ``smollm2``, a Hugging Face directory, a GGUF file, or a name on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of weights and products; auto takes bfloat16 where the machine does it faster, as measured."""


class CorpusChoice(Config):
    """The text."""

    source: str = "builtin"
    """``builtin``, a .parquet, .jsonl or text file, a folder of such files, or ``hf:NAME[:CONFIG]``."""
    column: str = "text"
    """Column of Parquet, JSON lines and datasets that holds the text."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    limit: int | None = Field(None, ge=1)
    """Documents to read at most; None reads all."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_recipes(cls, values: object) -> object:
        """Drop the key `seed` of older recipes: the built-in text is now that of seed 0 for good."""
        if not isinstance(values, dict) or "seed" not in values:
            return values
        if values["seed"] != 0 and values.get("source", "builtin") == "builtin":
            raise ValueError("the built-in text exists for seed 0 only; remove seed from [corpus]")
        return {name: value for name, value in values.items() if name != "seed"}


class StreamChoice(Config):
    """Stream of activations to the trainer."""

    batch: int = Field(4096, ge=1)
    """Rows in a batch."""
    passes: int = Field(1, ge=1)
    """Times that every row is given."""
    memory_mb: float = Field(512.0, gt=0)
    """Megabytes that rows may take in memory; beyond that they are shuffled by parts."""


class ReportChoice(Config):
    """The report."""

    title: str | None = None
    """Headline; None says the model and the site."""
    limit_mb: float = Field(14.0, gt=0)
    """Size to aim for; fewer passages a feature are kept where all don't fit."""
    question: str | None = None
    """A prompt whose next token the report explains by many methods, or a task, such as ioi, whose first prompt it is;
    None for none. Answers that `monosema attribute --keep` left in the run are shown besides."""


class Recipe(Config):
    """All that decides what a run makes: its stations' configurations, side by side."""

    name: str = Field("demo", pattern=r"^[\w][\w.\-]*$")
    """Name of the run; its folder is runs/NAME where no other is given."""
    given: str | None = None
    """A dictionary that is there already, in any format that is read: its folder, a file in it, or its name on the hub.
    Nothing is captured or trained then, and `dictionary` says what it is. On the command line: --dictionary."""
    site: SiteList = (Site.parse("3.resid_post"),)
    """Site whose activations the dictionary reads; of a crosscoder several, separated by commas."""
    output_site: OneSite | None = None
    """Site that a transcoder writes, such as 3.mlp_out for one that reads 3.mlp_in."""
    other_model: str | None = None
    """A second model, for a crosscoder over both; named as model.name, loaded in the same precision. `site` is read in
    each of them, or a site behind which @other stands in the second."""
    evaluation_tokens: int | None = Field(None, ge=1)
    """Held-out tokens that the dictionary is measured on; None takes as many as cost no more than capture and training,
    from 10,000 to 100,000, and is decided when the run begins."""
    atlas_tokens: int | None = Field(500_000, ge=1)
    """Tokens that features are described on; None reads the whole text."""
    model: ModelChoice = ModelChoice()
    corpus: CorpusChoice = CorpusChoice()
    text: TextConfig = TextConfig(tokens=1_000_000)
    """Making of the tokens that the dictionary is trained on."""
    capture: CaptureConfig = CaptureConfig()
    dictionary: DictionaryChoice
    """The dictionary, of the architecture that it names; widths follow from the model and the sites."""
    stream: StreamChoice = StreamChoice()
    training: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    atlas: AtlasConfig = AtlasConfig()
    samples: SampleConfig = SampleConfig()
    """Passages for explainers and scorers; random and inactive ones come from held-out text."""
    explain: ExplainConfig = ExplainConfig()
    score: ScoringConfig = ScoringConfig()
    report: ReportChoice = ReportChoice()

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that stand side by side in a row of the training stream. Raises ConfigError where their number is
        not what the architecture takes.
        """
        if self.other_model is None:
            sites = sites_of(self.site, self.output_site, self.dictionary)
            if any(site.other for site in sites):
                raise ConfigError(
                    f"The site {site_text(self.site)} is in a second model: say which, with --other-model."
                )
            return sites
        if self.dictionary.architecture != "crosscoder":
            raise ConfigError(
                f"Two models are compared by a crosscoder, not by {self.dictionary.title}. Take --architecture "
                "crosscoder, or leave out --other-model."
            )
        return sites_of(in_both_models(self.site), self.output_site, self.dictionary)

    @property
    def of_items(self) -> bool:
        """True where the model is a file of vectors, and the corpus the names of its rows."""
        return is_vectors(self.model.name)

    @property
    def unit(self) -> str:
        """Name of what is counted, in the plural."""
        return "items" if self.of_items else "tokens"

    @property
    def described(self) -> Split:
        """Split that features are described on: the training text, or all items."""
        return "all" if self.of_items else "train"

    @property
    def model_names(self) -> tuple[str, ...]:
        """The model, or both models, as a report says it: last parts of paths, where these tell them apart."""
        names = [name for name in (self.model.name, self.other_model) if name is not None]
        short = tuple(Path(name).name for name in names)
        return short if len(set(short)) == len(short) else tuple(names)

    @property
    def dictionary_name(self) -> str:
        """Name of the dictionary's folders in the run."""
        return f"{'+'.join(site.short for site in self.sites)}-{self.dictionary.architecture}"

    @property
    def place(self) -> str:
        """Its sites, as a report says it."""
        return (" → " if self.output_site else ", ").join(site.short for site in self.sites)

    @property
    def of_directions(self) -> bool:
        """True where the dictionary that is given is a steering file's directions; see `monosema.runs.directions`."""
        unpenalised = getattr(self.dictionary, "l1_coefficient", None) == 0
        return self.given is not None and unpenalised and is_directions(self.given)

    @property
    def row_names(self) -> dict[str, str]:
        """Names of the dictionary and its controls, by kind."""
        title, k = "directions" if self.of_directions else self.dictionary.title, self.dictionary.active_latents
        if k is None:
            return {"dictionary": title, "random": "random directions"}
        return {
            "dictionary": f"{title}, k = {k}",
            "pca": f"PCA, {k} components",
            "random": "random directions",
        }

    def resolve(self, previous: Recipe | None, device: str | None) -> Recipe:
        """The recipe with what was left open decided: absolute paths, and precisions that depend on the machine.

        Args:
            previous: the recipe of the same folder before, whose decisions are kept.
            device: where the model will run.
        """
        fast = str(choose_dtype(choose_device(device), None)).removeprefix("torch.")
        before = self if previous is None else previous
        dtype = next((kind for kind in (self.model.dtype, before.model.dtype) if kind != "auto"), fast)
        fastest = str(choose_product(choose_device(device))).removeprefix("torch.")
        product = next((kind for kind in (self.training.product, before.training.product) if kind != "auto"), fastest)
        return self.replace(
            model=self.model.replace(name=_absolute(self.model.name), dtype=dtype),
            given=None if self.given is None else _absolute(self.given),
            other_model=None if self.other_model is None else _absolute(self.other_model),
            corpus=self.corpus.replace(source=_absolute(self.corpus.source)),
            training=self.training.replace(product=product),
        )

    def left_to_machine(self, resolved: Recipe) -> str:
        """Write, as keys, the precisions that this recipe leaves to the machine, as they were resolved."""
        chosen = []
        if self.model.dtype == "auto":
            chosen.append(f"--model.dtype {resolved.model.dtype}")
        if self.training.product == "auto":
            chosen.append(f"--training.product {resolved.training.product}")
        return " ".join(chosen)

    def seeded(self, seed: int) -> Recipe:
        """The recipe with one seed for all that is random."""
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        with_seed = {name: part for name, part in parts.items() if "seed" in getattr(type(part), "model_fields", ())}
        return self.replace(**{name: part.replace(seed=seed) for name, part in with_seed.items()})

    def to_toml(self) -> str:
        """The recipe as TOML."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str, name: str = "the recipe") -> Recipe:
        """Read TOML. Raises FormatError where it isn't TOML, ConfigError for unknown keys and wrong values."""
        try:
            return cls(**_parsed(text, name))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """Read a file. Raises FormatError where there is none, or it isn't TOML."""
        return cls.from_toml(_text(path), str(path))

    @staticmethod
    def values(path: str | Path) -> dict[str, Any]:
        """Read the values of a file as they are written, without a check."""
        return _parsed(_text(path), str(path))

    def write(self, path: str | Path) -> None:
        """Write a file, atomically."""
        with atomic_path(path) as temporary:
            temporary.write_text(
                f"# A recipe in full. Repeat it with: monosema run THIS_FILE --out FOLDER\n\n{self.to_toml()}",
                encoding="utf-8",
            )


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise FormatError(f"There is no recipe {path}.") from None
    except UnicodeDecodeError:
        raise FormatError(f"{path} is not a recipe: it isn't text.") from None


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{name} is not valid TOML: {error}.") from None


def _absolute(text: str) -> str:
    """An absolute path where the text names something on this disk, else the text."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() and text not in ("specimen", "builtin") else text
