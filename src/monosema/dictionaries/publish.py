"""Dictionaries pulled from the Hugging Face hub into a folder, and pushed from one.

What is written to the hub is signed with the token in HF_TOKEN, which is kept nowhere.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from monosema.core import FormatError, InputError, MonosemaError, atomic_path
from monosema.core.hub import endpoint
from monosema.dictionaries.formats import load_dictionary
from monosema.dictionaries.hub import BESIDE, FILES, HubName, fetch
from monosema.dictionaries.sites import title_of


def pull(repo: str, revision: str | None, out: Path | None) -> Path:
    """Fetch a dictionary, and copy it to a folder if one is given.

    Raises FormatError where there is none of that name, or what is there is no dictionary, InputError where the folder
    holds something else; then nothing is copied.
    """
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
    kind = title_of(dictionary)
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
    """Raise InputError where a file is there already and is another than the fetched one; nothing is copied then."""
    there = [entry.relative_to(out).as_posix() for entry in out.rglob("*") if entry.is_file()] if out.is_dir() else []
    if out.is_file() or any(name not in files or not filecmp.cmp(out / name, home / name, False) for name in there):
        raise InputError(f"There is something else at {out} already. Choose another folder, or remove it.")


def _without(text: str, token: str) -> str:
    return " ".join(text.replace(token, "…").split())[:300]
