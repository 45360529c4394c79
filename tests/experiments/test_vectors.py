"""The recipes of items: what they make is what they say."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from vectors import digits, ratings


def test_a_picture_is_its_grey_values() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = digits.png(grey)
    assert struct.unpack(">II", content[16:24]) == (4, 3)
    at = content.index(b"IDAT")
    (size,) = struct.unpack(">I", content[at - 4 : at])
    rows = np.frombuffer(zlib.decompress(content[at + 4 : at + 4 + size]), np.uint8).reshape(3, 5)
    assert np.array_equal(rows[:, 1:], grey)


def test_factors_are_learnt_from_known_ratings_alone() -> None:
    draw = np.random.default_rng(0)
    people, films = draw.normal(size=(300, 2)), draw.normal(size=(60, 2))
    known = draw.random((300, 60)) < 0.3
    found = ratings.factors(np.where(known, people @ films.T, 0), known)
    assert found.shape == (60, ratings.FACTORS)
    assert not np.allclose(found, 0)
    centre = found - found.mean(axis=0)
    fit = centre @ np.linalg.lstsq(centre, films - films.mean(axis=0), rcond=None)[0]
    assert np.square(fit - films + films.mean(axis=0)).sum() < 0.1 * np.square(films).sum()
