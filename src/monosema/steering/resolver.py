"""Finding what a steering's plain values name: latents in dictionaries, maxima in atlases, directions in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from monosema.atlas import open_atlas
from monosema.core import ConfigError, FormatError, Site, nearest
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.steering.coordinates import Direction, Latent
from monosema.steering.files import FORMATS, read_directions

Maximum = Callable[[int], float | None]
"""The largest activation of a latent; None where it is not known."""


class Resolver:
    """Dictionaries, the maxima of their latents, and named directions. Each dictionary is loaded once."""

    def __init__(
        self,
        dictionaries: Mapping[Site | str, Dictionary] | None = None,
        maxima: Mapping[Site | str, Maximum] | None = None,
        directions: Iterable[Direction] = (),
        *,
        files: bool = True,
    ) -> None:
        """Take what is loaded already.

        Args:
            dictionaries: by the site that they read.
            maxima: likewise.
            directions: that may be named.
            files: True if a direction may be named by any file.
        """
        self._dictionaries = {Site.parse(site): one for site, one in (dictionaries or {}).items()}
        self._maxima = {Site.parse(site): one for site, one in (maxima or {}).items()}
        self._directions = list(directions)
        self._files = files

    @classmethod
    def of(cls, place: str | Path, *, device: str = "cpu", files: bool = True) -> Resolver:
        """Open a run, with its dictionaries, its atlases and the directions in its folder `directions`; or a dictionary
        in any format.

        Raises:
            FormatError: neither is there.
        """
        folder = Path(place)
        homes = sorted(one for one in (folder / "dictionaries").glob("*") if one.is_dir())
        found = cls(files=files)
        for home in homes or [folder]:
            dictionary = load_dictionary(home).to(device)
            site = dictionary.metadata.site
            if site is None or site in found._dictionaries:
                continue
            found._dictionaries[site] = dictionary
            if homes and (folder / "atlas" / home.name / "meta.json").is_file():
                found._maxima[site] = maxima_of(folder, home.name)
        for file in sorted((folder / "directions").glob("*")):
            found._directions += read_directions(file)
        return found

    def latent(self, index: int, site: Site | None = None) -> Latent:
        """Return a latent of the dictionary that reads a site; None where there is one.

        Raises:
            ConfigError: no such dictionary, or several and no site.
            InputError: the dictionary has no such latent.
        """
        known = ", ".join(one.short for one in self._dictionaries)
        if not self._dictionaries:
            raise ConfigError(f"latent = {index}: there is no dictionary here. Name a run or a dictionary with --run.")
        if site is None and len(self._dictionaries) > 1:
            raise ConfigError(f"latent = {index}: say at which site, there are dictionaries at {known}.")
        site = next(iter(self._dictionaries)) if site is None else site
        if site not in self._dictionaries:
            raise ConfigError(f"site = {site.short!r} is not valid: the dictionary here reads {known}.")
        maximum = self._maxima.get(site)
        return Latent(self._dictionaries[site], index, site, None if maximum is None else maximum(index))

    def direction(self, name: str, site: Site | None = None) -> Direction:
        """Return a direction by its name, or by a file with one, or with one at the site.

        Raises:
            ConfigError: no such direction, or several.
            FormatError: a file that holds none, or no such file.
        """
        named = [one for one in self._directions if one.name == name and site in (None, one.site)]
        if not named and self._files and Path(name).is_file():
            named = read_directions(Path(name), site)
        if len(named) == 1:
            return named[0]
        if named:
            sites = ", ".join(one.site.short for one in named)
            raise ConfigError(f"direction = {name!r} is at several sites: say at which, {sites}.")
        if self._files and ("/" in name or Path(name).suffix in FORMATS):
            raise FormatError(f"There is no file {name}. Name a file that holds a direction: {', '.join(FORMATS)}.")
        names = sorted({one.name for one in self._directions})
        there = f"There are: {', '.join(names)}." if names else "There are no directions here by name."
        raise ConfigError(
            f"There is no direction {name!r}.{nearest(name, names)} {there} A file's path may stand for one."
        )


def maxima_of(run: Path, name: str) -> Maximum:
    """Return the maxima of an atlas of a run, each read when it is asked for."""
    opened: list[Mapping[int, float | None]] = []

    def maximum(latent: int) -> float | None:
        if not opened:
            rows = open_atlas(run, name, checksums=False).sql("select latent, max from features")
            opened.append({row["latent"]: row["max"] for row in rows})
        return opened[0].get(latent)

    return maximum
