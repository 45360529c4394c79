"""Files from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monosema.core.errors import DiskFullError, InputError
from monosema.core.files import is_disk_full


def endpoint() -> str | None:
    """The hub's address from HF_ENDPOINT; None is the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def snapshot(
    name: str,
    patterns: Sequence[str],
    *,
    kind: str,
    failure: type[InputError],
    advice: str,
    ignored: Sequence[str] = (),
) -> Path:
    """The local directory with those files of a repository that match, fetched if need be.

    Args:
        name: "owner/name", with "@revision" after it if wanted.
        patterns: of the names of files to fetch.
        kind: what is asked for, as messages call it: "model".
        failure: the error to raise.
        advice: what messages say to do where there is nothing of this name here and the hub can't be reached.
        ignored: patterns of names of files to leave out.

    Raises:
        failure: nothing of this name, or it needs a token, or it is neither here nor to be reached.
        DiskFullError: no room.
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
        folder = snapshot_download(
            repo,
            revision=revision or None,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored) or None,
            endpoint=endpoint(),
        )
    except HFValidationError:
        raise failure(
            f"{name!r} is no {kind}: there is no such directory, and hub ids look like 'owner/name'. {advice}"
        ) from None
    except GatedRepoError:
        raise failure(
            f"{repo!r} is given to registered users only: accept its terms on the hub, then set HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise failure(f"{repo!r} has no revision {revision!r}.") from None
    except RepositoryNotFoundError:
        raise failure(
            f"There is no {kind} {repo!r} on the hub (or it is private, and HF_TOKEN is not set), and no such "
            "directory."
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"No room left on the disk while fetching {repo!r}. Make room and try again."
            ) from error
        raise failure(
            f"{repo!r} is no local directory, is not in the hub's cache on this machine, and the hub can't be reached. "
            f"Fetch it where there is a network and give its directory. {advice}"
        ) from None
    return Path(folder)
