"""label: people's own labels of features, their votes, and how far all who judge agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver

_Flag = Annotated[bool, Parameter(negative="")]


def label(
    run: Path,
    feature: int | None = None,
    text: str | None = None,
    /,
    *,
    author: str | None = None,
    vote: Literal["up", "down", "none"] | None = None,
    of: str | None = None,
    remove: _Flag = False,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    agreement: _Flag = False,
    common: Common = DEFAULTS,
) -> int:
    """Say what a feature means, or whether an explanation of it is right.

    A person's label is shown before all others. Labels and votes are kept in the atlas, and outlive it when it is built
    again for the same dictionary. You can take both back. `monosema score` scores people's labels as all others.

    ```
    monosema label runs/demo 17 "names of months"
    monosema label runs/demo 17 --vote up                     the label that is shown is right
    monosema label runs/demo 17 --vote down --of "token lookup"
    monosema label runs/demo 17 --vote none                   … and it is taken back
    monosema label runs/demo 17 --remove                      your label is taken back
    monosema label runs/demo --list
    monosema label runs/demo --agreement
    ```

    Parameters
    ----------
    run
        A run folder, or the folder of an atlas.
    feature
        The number of a feature.
    text
        Your label for it.
    author
        In whose name; without it, your name on this machine.
    vote
        Whether an explanation is right (up) or wrong (down); none takes your vote back.
    remove
        Take your label back, with its scores and the votes on it.
    of
        Method or author of the explanation that you vote on; without it, the label that is shown.
    list_
        Show all labels and votes of people; of one feature where its number is given.
    agreement
        How far people agree with each other, and explainers with each other.
    """
    from monosema.atlas import open_atlas
    from monosema.core import InputError

    atlas = open_atlas(run)
    if agreement:
        return _agreement(atlas, common)
    if list_:
        return _list(atlas, feature, common)
    if feature is None or (text is not None) + (vote is not None) + remove != 1:
        raise InputError(
            'Give a feature, and a label, --vote or --remove: monosema label RUN FEATURE "text"; or --list.'
        )
    who = author or _name()
    return _remove(atlas, feature, who, common) if remove else _judge(atlas, feature, text, who, vote, of, common)


def _name() -> str:
    import getpass

    from monosema.core import InputError

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise InputError("This machine has no name for you: give one with --author.") from None


def _remove(atlas: Any, feature: int, author: str, common: Common) -> int:
    from monosema.atlas import unlabel
    from monosema.cli.printing import plain

    gone = unlabel(atlas, feature, author)
    said = f"Feature {feature} is no longer called {gone.text!r} by {author}."
    return deliver({"feature": feature, "removed": plain(gone)}, common, lambda console: console.print(Text(said)))


def _judge(
    atlas: Any, feature: int, text: str | None, author: str, vote: str | None, of: str | None, common: Common
) -> int:
    import monosema.atlas as station
    from monosema.cli.printing import plain

    if text is not None:
        given = station.label(atlas, feature, text, author)
        result = {"feature": feature, "label": plain(given)}
        said = f"Feature {feature} is called {given.text!r} by {author}."
    elif vote == "none":
        gone = station.withdraw(atlas, feature, author, of)
        result = {"feature": feature, "withdrawn": plain(gone)}
        said = f"{author} no longer votes on {' and '.join(repr(one.text) for one in gone)} (feature {feature})."
    else:
        cast = station.vote(atlas, feature, vote == "up", author, of)
        result = {"feature": feature, "vote": plain(cast)}
        said = f"{author} holds {cast.text!r} for {'right' if cast.vote > 0 else 'wrong'} (feature {feature})."
    return deliver(result, common, lambda console: console.print(Text(said)))


def _list(atlas: Any, feature: int | None, common: Common) -> int:
    from monosema.atlas import PERSON

    where, values = ("where latent = ?", [feature]) if feature is not None else ("where true", [])
    labels = atlas.sql(
        f"select latent, author, text from explanations {where} and method = ? order by all", [*values, PERSON]
    )
    votes = atlas.sql(f"select latent, voter, vote, author, method, text from votes {where} order by all", values)

    def show(console: Console) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("feature", "by", "", "explanation"):
            table.add_column(name, justify="right" if name == "feature" else "left", overflow="fold")
        for row in labels:
            table.add_row(str(row["latent"]), Text(row["author"]), "label", Text(row["text"]))
        for row in votes:
            of = f"{row['text']}  ({row['author']}, {row['method']})"
            table.add_row(str(row["latent"]), Text(row["voter"]), "right" if row["vote"] > 0 else "wrong", Text(of))
        console.print(table if labels or votes else "Nobody has labelled or voted yet.")

    return deliver({"labels": labels, "votes": votes}, common, show)


def _agreement(atlas: Any, common: Common) -> int:
    from monosema.cli.printing import plain
    from monosema.interpretation import agreement

    found = agreement(atlas)

    def show(console: Console) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("between", "by", "agreement [95 %]", "different features", "n"):
            table.add_column(name, overflow="fold")
        for one in (one for some in found.values() for one in some):
            figure = str(one.estimate) if one.estimate else f"none: {one.absent}"
            control = "" if one.control is None else f"{one.control:.3g}"
            n = "" if one.estimate is None else str(one.estimate.n)
            table.add_row(Text(" and ".join(one.between) or "people"), one.measure, Text(figure), control, n)
        console.print(table)
        console.print(
            Text(
                "votes, passages: Krippendorff's alpha; words: share of words in common; difference: of scores by the "
                "same scorer, the person's less the explainer's",
                style="dim",
            )
        )

    return deliver({name: plain(rows) for name, rows in found.items()}, common, show)
