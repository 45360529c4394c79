"""convert, push, pull: dictionaries between formats, and between machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.common import DEFAULTS, Common, deliver

if TYPE_CHECKING:
    from monosema.dictionaries import Dictionary


def convert(
    source: str,
    target: Path,
    /,
    *,
    to: Annotated[
        str, Parameter(help="monosema, saelens, sparsify, dictionary_learning, openai, gemma_scope or openmoss.")
    ] = "monosema",
    common: Common = DEFAULTS,
) -> int:
    """Write a dictionary in another format.

    The format of what is read is told from its files. A format that can't hold the dictionary says why and which can,
    and nothing is written.

    ```
    monosema convert runs/demo/dictionaries/3.resid_post-topk mine --to sparsify
    monosema convert google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 mine
    ```

    Parameters
    ----------
    source
        The folder of a dictionary, a file in it, or its name on the hub: owner/name[@revision][/folder].
    target
        The folder to write.
    """
    from monosema.core import InputError
    from monosema.dictionaries import load_dictionary, save_dictionary

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"There is something at {target} already. The second word is the folder to write: choose a new one, or "
            "remove that."
        )
    dictionary = load_dictionary(source)
    folder = save_dictionary(dictionary, target, to)
    return _deliver({**_facts(dictionary), "format": to, "path": str(folder)}, common)


def push(
    path: Path,
    repo: str,
    /,
    *,
    private: Annotated[bool, Parameter(negative="")] = False,
    message: str | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Send a saved dictionary to the Hugging Face hub.

    The token comes from HF_TOKEN, and the endpoint from HF_ENDPOINT. Only the dictionary's own files are sent.

    ```
    HF_TOKEN=… monosema push runs/demo/dictionaries/3.resid_post-topk me/my-dictionaries/blocks.3.hook_resid_post
    ```

    Parameters
    ----------
    path
        The folder of a dictionary, in any format.
    repo
        Where to: owner/name[@branch][/folder]. The repository is made if need be.
    private
        Make the repository private, if it is made.
    message
        Of the commit.
    """
    from monosema.dictionaries import push as send

    return _deliver({"commit": send(path, repo, private=private, message=message), "repo": repo}, common)


def pull(
    repo: str,
    /,
    *,
    revision: str | None = None,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Fetch a dictionary from the Hugging Face hub.

    ```
    monosema pull me/my-dictionaries/blocks.3.hook_resid_post --out dictionaries/mine
    ```

    Parameters
    ----------
    repo
        owner/name[@revision][/folder].
    revision
        A branch, tag or commit.
    out
        The folder to copy it to; without it, it stays in the hub's cache, and its place there is printed.
    """
    from monosema.dictionaries import load_dictionary
    from monosema.dictionaries import pull as fetch

    folder = fetch(repo, revision, out)
    return _deliver({**_facts(load_dictionary(folder)), "path": str(folder)}, common)


def _facts(dictionary: Dictionary) -> dict[str, Any]:
    from monosema.dictionaries import title_of

    site = dictionary.metadata.site
    return {
        "kind": title_of(dictionary),
        "d_in": dictionary.d_in,
        "d_out": dictionary.d_out,
        "n_latents": dictionary.n_latents,
        "model": dictionary.metadata.model,
        "site": str(site) if site else None,
    }


def _deliver(values: dict[str, Any], common: Common) -> int:
    def show(console: Console) -> None:
        for name, value in values.items():
            if value is not None:
                console.print(f"[bold]{name.replace('_', ' ')}[/bold]  {value}", soft_wrap=True, highlight=False)

    return deliver(values, common, show)
