"""People's labels and votes, and how they outlive an atlas that is built again.

They belong to a dictionary, whatever text it is looked at on. When an atlas is built again in the same folder for a
dictionary with the same digest, they are carried over. For another dictionary they are put aside in the folder, as
``explanations-of-DIGEST.parquet`` and ``votes-of-DIGEST.parquet``, and come back when that dictionary does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monosema.atlas.feature import PERSON, Explanation, Vote
from monosema.atlas.query import Atlas
from monosema.atlas.recording import record, remove
from monosema.atlas.tables import READABLE_JUDGEMENTS, check_files, schema, table_path, write_table
from monosema.core import DamagedFileError, FormatError, InputError, nearest, read_json

_JUDGED = ("explanations", "votes")


def label(atlas: Atlas, latent: int, text: str, author: str) -> Explanation:
    """Give a feature a label in a person's name, in place of the one that the same person gave before.

    Raises:
        InputError: there is no such feature, or the text is empty.
    """
    given = Explanation(author, PERSON, None, None, " ".join(text.split()))
    record(atlas.path, {latent: [given]})
    return given


def unlabel(atlas: Atlas, latent: int, author: str) -> Explanation:
    """Take back the label that a person gave a feature, with its scores and the votes on it.

    Raises:
        InputError: there is no such feature, or the person gave it no label.
    """
    labels = {one.author: one for one in atlas.feature(latent).explanations if one.method == PERSON}
    if author not in labels:
        by = f" There are labels by: {', '.join(sorted(labels))}." if labels else " Nobody has labelled it."
        raise InputError(f"Feature {latent} has no label by {author!r}.{nearest(author, sorted(labels))}{by}")
    remove(atlas.path, {latent: [labels[author].identity]})
    return labels[author]


def vote(atlas: Atlas, latent: int, up: bool, voter: str, of: str | None = None) -> Vote:
    """Say that an explanation of a feature is right, or wrong; the same person's earlier vote on it is replaced.

    Args:
        up: right, or wrong.
        of: method or author of the explanation; None for the label that is shown.

    Raises:
        InputError: there is no such explanation, or several.
    """
    feature = atlas.feature(latent)
    if of is None:
        wanted = (feature.label_author, feature.label_method, feature.label)
        found = [one for one in feature.explanations if (one.author, one.method, one.text) == wanted]
    else:
        found = [one for one in feature.explanations if of in (one.method, one.author)]
    if not found:
        names = sorted({name for one in feature.explanations for name in (one.method, one.author)})
        there = f" There is: {', '.join(names)}." if names else " It has no explanation yet."
        raise InputError(
            f"Feature {latent} has no explanation of {of or 'anybody'!r}.{nearest(of or '', names)}{there}"
        )
    if len(found) > 1 and of is not None:
        who = "; ".join(f"{one.author}, {one.method}: {one.text}" for one in found)
        raise InputError(f"Feature {latent} has {len(found)} explanations of {of!r}: say which by its author. {who}")
    given = Vote(*found[0].identity, found[0].text, voter, 1 if up else -1)
    record(atlas.path, votes={latent: [given]})
    return given


def withdraw(atlas: Atlas, latent: int, voter: str, of: str | None = None) -> list[Vote]:
    """Take back a person's vote on an explanation of a feature.

    Args:
        of: method or author of the explanation, whatever it says by now; None for the label that is shown.

    Returns:
        The votes that are gone; several where they were on texts that followed each other.

    Raises:
        InputError: there is no such feature, or no such vote.
    """
    feature = atlas.feature(latent)
    mine = [one for one in feature.votes if one.voter == voter]
    shown = (feature.label_author, feature.label_method)
    gone = [
        one for one in mine if (shown == (one.author, one.method) if of is None else of in (one.method, one.author))
    ]
    if not gone:
        there = "; ".join(f"{one.text} ({one.author}, {one.method})" for one in mine)
        said = f"Votes of {voter} there: {there}." if mine else f"{voter} has not voted on it."
        what = "the label that is shown" if of is None else f"an explanation of {of!r}"
        raise InputError(f"There is no vote of {voter!r} on {what} of feature {latent}. {said}")
    remove(atlas.path, votes={latent: gone})
    return gone


def carried_over(path: Path, digest: str) -> dict[str, Any]:
    """People's labels and votes for a dictionary, from the atlas that a folder holds or from what was put aside in it.

    What belongs to another dictionary is put aside. A table that is damaged is kept beside the others, with the ending
    ``.damaged``.

    Args:
        digest: of the dictionary that an atlas is being built for.

    Returns:
        Arrow tables of explanations and votes.
    """
    owner, tables = _judgements(path)
    if owner == digest:
        return tables
    for name, table in tables.items():
        if table.num_rows:
            with write_table(_aside(path, name, str(owner)), name) as writer:
                writer.write({column: table[column] for column in table.column_names})
    return {name: _read(_aside(path, name, digest), name) for name in _JUDGED}


def _judgements(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Digest of the dictionary that the folder's atlas is of, and people's rows of its tables."""
    import pyarrow.compute as pc

    nothing = {name: schema(name).empty_table() for name in _JUDGED}
    try:
        meta = read_json(path / "meta.json")
    except (FormatError, DamagedFileError):
        return None, nothing
    if meta.get("format") not in READABLE_JUDGEMENTS:
        return None, nothing
    tables = {}
    for name in _JUDGED:
        file = table_path(path, meta, name)
        try:
            check_files(path, meta, checksums=True, names=[name])
            tables[name] = _read(file, name)
        except DamagedFileError:
            tables[name] = nothing[name]
            if file.exists():
                file.rename(file.with_suffix(".damaged"))
    tables["explanations"] = tables["explanations"].filter(pc.field("method") == PERSON)
    return meta["dictionary"]["digest"], tables


def _aside(path: Path, name: str, digest: str) -> Path:
    return path / f"{name}-of-{digest}.parquet"


def _read(file: Path, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(file, schema=schema(name)) if file.exists() else schema(name).empty_table()
