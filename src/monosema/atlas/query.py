"""An atlas opened for reading: features as values, lists and searches, and SQL over its tables.

The Parquet files are read in place by DuckDB. Words of people reach it as parameters, never as parts of a query; the
database is cut off from all files but the atlas's, so that a query can read nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monosema.atlas.assemble import RELATED, feature_of
from monosema.atlas.database import connect, first_line, statements
from monosema.atlas.feature import Feature
from monosema.atlas.searches import BY_EFFECT, BY_TOKEN, LISTED, STANDING, by_text, reason
from monosema.atlas.tables import NAMES, check_tables, state_of, table_path
from monosema.core import DamagedFileError, FormatError, InputError, Site, nearest
from monosema.core.display import Shown

_SORTS = ("latent", "density", "n_active", "mean", "mean_active", "max", "label_score", "label_margin", "label")


class Atlas(Shown):
    """The features of one dictionary on one text.

    What is recorded while it is open, by this process or another, is seen by the next call.

    Attributes:
        path: folder of the tables.
        meta: meta.json as plain values.
        model_name: the model's name or path.
        site: where the dictionary reads.
        n_latents: number of latents, alive or not.
        tokens: tokens that were looked at.
    """

    def __init__(self, path: Path, checksums: bool = True) -> None:
        self.path = path
        self._open(checksums)

    def _open(self, checksums: bool) -> None:
        """Read meta.json and open the tables that it names; once more where it was replaced meanwhile."""
        while True:
            seen = _stamp(self.path)
            try:
                meta = check_tables(self.path, checksums)
                self._database = connect(self.path, meta)
                break
            except DamagedFileError:
                if seen == _stamp(self.path):
                    raise
        self._seen = seen
        self.meta = meta
        self.model_name: str = meta["model"]["name"]
        self.site = Site.parse(meta["site"])
        self.n_latents: int = meta["dictionary"]["n_latents"]
        self.tokens: int = meta["text"]["tokens"]

    def __len__(self) -> int:
        return self.n_latents

    def __repr__(self) -> str:
        where = f"{self.site.short} of {self.model_name}"
        return f"Atlas({self.path}: {self.n_latents:,} latents, {where}, {self.tokens:,} tokens)"

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(latent) for latent in range(self.n_latents))

    @property
    def absent(self) -> dict[str, str]:
        """Contents that the atlas lacks, with the reason for each."""
        return dict(self.meta["absent"])

    @property
    def state(self) -> str:
        """Digest of all tables; it changes with every recording."""
        self._refresh()
        return state_of(self.meta)

    @property
    def position_buckets(self) -> list[tuple[int, int]]:
        """Positions in the row, from the first to below the second, of each value of a position profile."""
        return [(low, high) for low, high in self.meta["position_buckets"]]

    def feature(self, latent: int) -> Feature:
        """Return one latent with everything that the tables hold about it.

        Raises:
            InputError: there is no such latent.
        """
        if isinstance(latent, bool) or not 0 <= latent < self.n_latents:
            raise InputError(f"There is no feature {latent!r}: this atlas has 0 to {self.n_latents - 1}.")
        row = self._rows("select * from features where latent = ?", [int(latent)])[0]
        related = {
            name: self._rows(f"select * exclude (latent) from {name} where latent = ? order by {order}", [int(latent)])
            for name, order in RELATED.items()
        }
        return feature_of(row, related)

    def features(
        self,
        sort: str = "density",
        descending: bool | None = None,
        search: str | None = None,
        alive_only: bool = True,
        limit: int | None = 100,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Features as rows of their figures and labels.

        Args:
            sort: latent, density, n_active, mean, mean_active, max, label_score, label_margin (what of the score
                stands above its controls) or label.
            descending: by default the greatest first, but latents and labels upwards. Rows without a value come last.
            search: only features that `search` would find.
            alive_only: leave out latents that were never active.
            limit, offset: which part of the list; None for all.

        Raises:
            InputError: no such order, or a negative limit or offset.
        """
        if sort not in _SORTS:
            raise InputError(
                f"Features can't be sorted by {sort!r}.{nearest(sort, _SORTS)} Choose from: {', '.join(_SORTS)}."
            )
        _check_page(limit, offset)
        if descending is None:
            descending = sort not in ("latent", "label")
        wanted = "where alive" if alive_only else "where true"
        values: list[Any] = []
        if search is not None:
            found = [row["latent"] for row in self.search(search, limit=None, alive_only=alive_only)]
            wanted += " and list_contains(?, latent)"
            values.append(found)
        direction = "desc" if descending else "asc"
        query = (
            f"select {LISTED} from features {wanted} order by {sort} {direction} nulls last, latent limit ? offset ?"
        )
        return self._rows(query, [*values, limit, offset])

    def standing(self) -> list[dict[str, Any]]:
        """Say what share of scored explanations stands above their controls, for each scorer and method: rows of
        scorer, method, n, median, above_shuffled and above_random (None where that control is not known)."""
        return self._rows(STANDING, [])

    def search(
        self, text: str, limit: int | None = 20, offset: int = 0, alive_only: bool = True
    ) -> list[dict[str, Any]]:
        """Features that all words of a text fit, best first: by top tokens, labels, explanations, promoted tokens and
        strongest passages.

        A word counts most where it is a top token, then where the label has it, then on active tokens of strong
        passages (see `searches.by_text`). Case does not matter. Rows are those of `features`, with `relevance` and
        `why`, which names what fits.

        Raises:
            InputError: the text has no word.
        """
        words = text.lower().split()
        if not words:
            raise InputError("Say what to search for: a word of a label, or a token.")
        _check_page(limit, offset)
        rows = self._rows(by_text(alive_only), [words, len(words), limit, offset])
        return [{**row, "why": reason(row.pop("fits"))} for row in rows]

    def search_token(self, token: str, limit: int | None = 20, offset: int = 0) -> list[dict[str, Any]]:
        """Features that fire on a token, the most devoted to it first: rows of `features`, with its share of their
        activation mass.

        Args:
            token: its text, with or without the space before it.
        """
        _check_page(limit, offset)
        return self._rows(BY_TOKEN, [token, limit, offset])

    def search_effect(self, token: str, limit: int | None = 20, offset: int = 0) -> list[dict[str, Any]]:
        """Features that promote a token or suppress it, by its direct effect.

        Rows are those of `features`, with `logit` (at activation 1; below 0 where the feature suppresses the token)
        and `effect`, the logit at the feature's largest activation, both up to the final norm's positive scale; the
        largest effect of either sign comes first.
        Features are found where the token is among the few most promoted or suppressed ones that the atlas keeps.

        Args:
            token: its text, with or without the space before it.
        """
        _check_page(limit, offset)
        return self._rows(BY_EFFECT, [token, token, limit, offset])

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a query over the tables features, examples, histograms, neighbours, explanations, scores, votes,
        sites and vocabulary.

        Features have their label beside them; labels has one row for each feature that has a label. Columns of token
        ids (token_ids, top_token_ids, promoted_ids, suppressed_ids) stand beside those of their texts (tokens,
        top_tokens, promoted, suppressed).

        Args:
            query: one SELECT in DuckDB's dialect.
            parameters: values of its question marks.

        Raises:
            InputError: the query is wrong, or wants more than to read the tables.
            DamagedFileError: a table can't be read.
        """
        import duckdb

        kinds = [statement.type for statement in statements(query)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise InputError("An atlas answers one SELECT at a time. Its tables are: " + ", ".join(NAMES) + ".")
        return self._rows(query, list(parameters))

    def verify(self) -> None:
        """Compare all tables with their checksums. Raises DamagedFileError, which names the first that differs."""
        check_tables(self.path, checksums=True)

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    def file(self, name: str) -> Path:
        """The Parquet file of a table; it holds token ids, whose texts are in the table vocabulary."""
        self._refresh()
        return table_path(self.path, self.meta, name)

    def table(self, name: str, columns: Sequence[str] = ()) -> Any:
        """A whole table or view as an Arrow table, sorted by its first column: latent, or token.

        Args:
            columns: which of its columns, the first of them to sort by; without any, all.
        """
        if name not in (*NAMES, "labels"):
            raise InputError(f"There is no table {name!r}.{nearest(name, NAMES)} The tables are: {', '.join(NAMES)}.")
        self._refresh()
        wanted = ", ".join(f'"{column}"' for column in columns) or "*"
        return self._database.cursor().sql(f"select {wanted} from {name} order by 1").to_arrow_table()

    def _refresh(self) -> None:
        """Open the tables again where meta.json names other ones by now."""
        if _stamp(self.path) != self._seen:
            self._open(checksums=False)

    def _rows(self, query: str, parameters: list[Any]) -> list[dict[str, Any]]:
        import duckdb

        self._refresh()
        try:
            answer = self._database.cursor().execute(query, parameters)
            names = [column[0] for column in answer.description]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        except (duckdb.IOException, duckdb.SerializationException, duckdb.InvalidInputException) as error:
            if _stamp(self.path) != self._seen:
                return self._rows(query, parameters)
            self.verify()
            raise DamagedFileError(f"A table of {self.path} can't be read: {first_line(error)}") from None
        except duckdb.Error as error:
            raise InputError(f"The query failed: {first_line(error)}") from None


def open_atlas(path: str | Path, name: str | None = None, *, checksums: bool = True) -> Atlas:
    """Open an atlas.

    Args:
        path: its folder, or the folder of a run.
        name: which of a run's atlases; None where it has one.
        checksums: read all tables once to see that they are whole; without, sizes are compared and nothing else.

    Raises:
        FormatError: there is no atlas, or several and no name.
        DamagedFileError: a table is missing or not what was written.
    """
    folder = _folder(Path(path), name)
    return Atlas(folder, checksums)


def _stamp(folder: Path) -> tuple[int, int]:
    """Return inode and time of meta.json, which change when it is replaced."""
    try:
        facts = (folder / "meta.json").stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_ino, facts.st_mtime_ns


def _folder(path: Path, name: str | None) -> Path:
    if (path / "meta.json").is_file() and name is None:
        return path
    home = path / "atlas" if (path / "atlas").is_dir() else path
    there = sorted(child.name for child in home.iterdir() if (child / "meta.json").is_file()) if home.is_dir() else []
    if name is not None and name in there:
        return home / name
    if name is None and len(there) == 1:
        return home / there[0]
    if not there:
        problem = "holds no atlas" if path.is_dir() else "does not exist"
        raise FormatError(f"{path} {problem}. Build one with: monosema atlas RUN")
    asked = f"no atlas {name!r}" if name else "several atlases: say which"
    raise FormatError(f"{path} has {asked}. There is: {', '.join(there)}.")


def _check_page(limit: int | None, offset: int) -> None:
    if (limit is not None and limit < 0) or offset < 0:
        raise InputError(f"A list can't have limit {limit} and offset {offset}: neither may be below 0.")
