"""Films of a recommender: the item factors of a matrix of ratings.

The ratings are made, not collected (no free data set of ratings comes with a package): each film has one or two
genres, an era and an audience; each person a taste for each of these, and a rating is

    3 + taste · facts / √(number of facts) + quality of the film + noise,   cut to 1 … 5 in halves

with about 6 % of all pairs rated. The vectors are the films' factors of alternating least squares on the known ratings
alone, less each film's mean; the facts are columns of the names, and never enter the factorisation. So it is known
what there is to be found.
"""

from __future__ import annotations

import numpy as np

FILMS, PEOPLE, RATED, FACTORS = 2_400, 4_000, 0.06, 32
GENRES = (
    "western",
    "comedy",
    "horror",
    "musical",
    "crime",
    "war",
    "romance",
    "science fiction",
    "documentary",
    "fantasy",
)
AUDIENCES = ("children", "families", "adults")
FIRST = (
    "Silent",
    "Golden",
    "Last",
    "Broken",
    "Distant",
    "Secret",
    "Burning",
    "Crooked",
    "Winter",
    "Paper",
    "Hollow",
    "Blue",
)
SECOND = (
    "Harbour",
    "Letter",
    "Crown",
    "Garden",
    "Station",
    "Mirror",
    "River",
    "Promise",
    "Empire",
    "Orchard",
    "Signal",
    "Door",
)
RIDGE, ROUNDS = 5.0, 12


def items() -> tuple[np.ndarray, dict[str, list[object]]]:
    """Return the factors of each film, and its title, genres, year, audience and number of ratings."""
    draw = np.random.default_rng(0)
    genre, other = draw.integers(0, len(GENRES), (2, FILMS))
    other = np.where(draw.random(FILMS) < 0.4, other, genre)
    year, audience = draw.integers(1930, 2020, FILMS), draw.integers(0, len(AUDIENCES), FILMS)
    facts = np.zeros((FILMS, len(GENRES) + 3 + len(AUDIENCES)))
    for column in (genre, other, len(GENRES) + (year - 1930) // 30, len(GENRES) + 3 + audience):
        facts[np.arange(FILMS), column] = 1
    facts /= np.sqrt(facts.sum(axis=1, keepdims=True))
    known = draw.random((PEOPLE, FILMS)) < RATED
    ratings = 3 + draw.normal(size=(PEOPLE, facts.shape[1])) @ facts.T
    ratings += 0.5 * draw.normal(size=FILMS) + 0.5 * draw.normal(size=ratings.shape)
    ratings = np.where(known, np.clip(np.round(2 * ratings) / 2, 1, 5), 0)
    titles = [f"The {draw.choice(FIRST)} {draw.choice(SECOND)} ({one})" for one in year]
    return factors(ratings, known), {
        "title": titles,
        "genre": [GENRES[one] for one in genre],
        "second genre": [None if a == b else GENRES[b] for a, b in zip(genre, other, strict=True)],
        "year": year.tolist(),
        "audience": [AUDIENCES[one] for one in audience],
        "ratings": known.sum(axis=0).tolist(),
    }


def factors(ratings: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the columns' factors by alternating least squares with a ridge (Hu, Koren & Volinsky 2008, §4, without
    confidences).

    Args:
        ratings: shape (rows, columns); 0 where unknown.
        known: mask of the known ones.
    """
    mean = ratings.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, ratings - mean, 0)
    draw = np.random.default_rng(1)
    films = 0.1 * draw.normal(size=(ratings.shape[1], FACTORS))
    for _ in range(ROUNDS):
        people = _solve(centred, known, films)
        films = _solve(centred.T, known.T, people)
    return films


def _solve(values: np.ndarray, known: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the factors of each row, given those of the columns."""
    rows = []
    for value, mask in zip(values, known, strict=True):
        mine = other[mask]
        rows.append(np.linalg.solve(mine.T @ mine + RIDGE * np.eye(FACTORS), mine.T @ value[mask]))
    return np.array(rows)
