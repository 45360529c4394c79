"""Fetching models from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from pathlib import Path

from monosema.core import DiskFullError, UnknownModelError, UnsupportedModelError
from monosema.core.files import is_disk_full

__all__ = ["fetch"]

_SMALL = ["config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "chat_template.jinja"]
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]


def fetch(name: str, *, weights: bool = True) -> Path:
    """The local directory of a hub model ("owner/name", with "@revision" after it if wanted), fetched if need be.

    Raises:
        UnknownModelError: no such model, one that needs a token, or one that is neither here nor to be reached.
        UnsupportedModelError: it has no safetensors.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = name.partition("@")
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision or None,
                allow_patterns=_SMALL + _WEIGHTS if weights else _SMALL,
                ignore_patterns=["*/*"],
            )
        )
    except HFValidationError:
        raise UnknownModelError(
            f"{name!r} is no model: there is no such directory, and hub ids look like 'owner/name'. "
            "The embedded model is called 'specimen'."
        ) from None
    except GatedRepoError:
        raise UnknownModelError(
            f"{repo!r} is given to registered users only: accept its terms on the hub, then set HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise UnknownModelError(f"{repo!r} has no revision {revision!r}.") from None
    except RepositoryNotFoundError:
        raise UnknownModelError(
            f"There is no model {repo!r} on the hub (or it is private, and HF_TOKEN is not set), and no such directory."
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"No room left on the disk while fetching {repo!r}. Make room and try again."
            ) from error
        raise UnknownModelError(
            f"{repo!r} is no local directory, is not in the hub's cache on this machine, and the hub can't be reached. "
            "Fetch it where there is a network and give its directory, or use the embedded model 'specimen'."
        ) from None
    if weights and not any(folder.glob("*.safetensors")):
        raise UnsupportedModelError(f"{repo!r} has no safetensors on the hub; other kinds of weights are never loaded.")
    return folder
