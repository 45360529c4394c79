"""Dictionaries on the Hugging Face hub: fetched by name, pulled into a folder, pushed from one.

A name is ``owner/name``, with ``@revision`` after it if wanted, then the folder in the repository:
``owner/name@main/blocks.3.hook_resid_post``. Only the files of that one dictionary travel. The endpoint is that of
HF_ENDPOINT. What is written to the hub is signed with the token in HF_TOKEN, which is kept nowhere.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from monosema.core import FormatError, InputError, MonosemaError, atomic_path
from monosema.core.hub import endpoint, snapshot

FILES = (
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "activation_scaler.json",
    "activation_whitening.safetensors",
    "sae.safetensors",
    "ae.pt",
    "config.json",
    "autoencoder.pt",
    "params.npz",
    "params.safetensors",
    "sae.pt",
    "weights.pt",
    "hyperparams.json",
    "checkpoints/final.safetensors",
    "README.md",
)
"""What a dictionary's folder can have in any format; nothing else travels."""
SINGLE = (".pt", ".pth", ".npz", ".safetensors")
"""Files that are a dictionary by themselves, where they are named; with a configuration of one of these names."""
BESIDE = ("config.json", "cfg.json", "config.yaml")
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>[\w./@=-]+?))?/?")


@dataclass(frozen=True)
class HubName:
    """The name of a dictionary on the hub.

    Attributes:
        repo: "owner/name".
        revision: branch, tag or commit; None for the main branch.
        folder: where in the repository; "" for its root.
    """

    repo: str
    revision: str | None
    folder: str

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """The name that a text is, or None."""
        match = _NAME.fullmatch(text)
        if match is None or ".." in text or text.startswith((".", "~")):
            return None
        folder = match["folder"] or ""
        for file in FILES:
            folder = "" if folder == file else folder.removesuffix(f"/{file}")
        return cls(match["repo"], match["revision"], folder)


def fetch(name: HubName) -> Path:
    """The local folder of a dictionary, fetched into the hub's cache if need be; its file, where the name is a file's.

    Raises FormatError where it can't be had.
    """
    parent, _, last = name.folder.rpartition("/")
    single = last.endswith(SINGLE)
    prefix = f"{parent}/" if single and parent else f"{name.folder}/" if name.folder and not single else ""
    files = (last, f"{last.rpartition('.')[0]}_cfg.json", *BESIDE) if single else FILES
    root = snapshot(
        f"{name.repo}@{name.revision}" if name.revision else name.repo,
        [f"{prefix}{file}" for file in files],
        kind="dictionary",
        failure=FormatError,
        advice="Or give the folder of a saved dictionary.",
    )
    place = root / name.folder
    if not (place.is_file() if single else place.is_dir()):
        raise FormatError(f"{name.repo!r} has no dictionary in {name.folder!r}.")
    return place


def pull(repo: str, revision: str | None, out: Path | None) -> Path:
    """Fetch a dictionary, and copy it to a folder if one is given.

    Raises FormatError where there is none of that name, or what is there is no dictionary, InputError where the folder
    holds something else; then nothing is copied.
    """
    from monosema.dictionaries.formats import load_dictionary

    name = HubName.parse(repo)
    if name is None:
        raise FormatError(f"{repo!r} is no name on the hub: it looks like 'owner/name' or 'owner/name/folder'.")
    if revision is not None:
        name = HubName(name.repo, revision, name.folder)
    folder = fetch(name)
    load_dictionary(folder)
    if out is None:
        return folder
    home, files = (folder.parent, _beside(folder)) if folder.is_file() else (folder, _present(folder))
    _refuse_others(out, home, files)
    for file in files:
        with atomic_path(out / file) as temporary:
            shutil.copyfile(home / file, temporary)
    return out / folder.name if folder.is_file() else out


def push(path: str | Path, repo: str, *, private: bool = False, message: str | None = None) -> str:
    """Send a saved dictionary to the hub in one commit; the repository is made if need be.

    Args:
        path: the folder of a dictionary, in any format.
        repo: "owner/name", or "owner/name/folder"; "@branch" after the name, if wanted.
        private: whether a repository that is made is private.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        FormatError: no dictionary at `path`; nothing is sent.
        InputError: no token in HF_TOKEN, or `repo` is no name.
        MonosemaError: the hub refuses, or can't be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from monosema.dictionaries.formats import load_dictionary

    name = HubName.parse(repo)
    if name is None:
        raise InputError(f"{repo!r} is no name on the hub: it looks like 'owner/name' or 'owner/name/folder'.")
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise InputError("Pushing needs a token that may write: set HF_TOKEN.")
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    dictionary = load_dictionary(folder)
    prefix = f"{name.folder}/" if name.folder else ""
    files = [CommitOperationAdd(f"{prefix}{file}", str(folder / file)) for file in _present(folder)]
    kind = type(dictionary).__name__
    hub = HfApi(endpoint=endpoint(), token=token)
    try:
        hub.create_repo(name.repo, private=private, exist_ok=True)
        said = message or f"{kind} dictionary: {dictionary.n_latents} latents, {dictionary.d_in} wide"
        commit = hub.create_commit(name.repo, files, commit_message=said, revision=name.revision)
    except HFValidationError as error:
        raise InputError(f"{repo!r} is no name on the hub: {error}") from None
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        said = "the token in HF_TOKEN may not write there" if code in (401, 403) else _without(str(error), token)
        raise MonosemaError(f"The hub did not take {folder} as {repo!r}: {said}") from error
    return str(commit.commit_url)


def _present(folder: Path) -> list[str]:
    return [file for file in FILES if (folder / file).is_file()]


def _beside(file: Path) -> list[str]:
    return [name for name in (file.name, f"{file.stem}_cfg.json", *BESIDE) if (file.parent / name).is_file()]


def _refuse_others(out: Path, home: Path, files: list[str]) -> None:
    """What is there already must be what is fetched, as after a kill. Raises InputError, and nothing is copied."""
    there = [entry.relative_to(out).as_posix() for entry in out.rglob("*") if entry.is_file()] if out.is_dir() else []
    if out.is_file() or any(name not in files or not filecmp.cmp(out / name, home / name, False) for name in there):
        raise InputError(f"There is something else at {out} already. Choose another folder, or remove it.")


def _without(text: str, token: str) -> str:
    return " ".join(text.replace(token, "…").split())[:300]
