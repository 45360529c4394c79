"""A bag of words: a classifier of texts that is learned from labelled ones, and says how well it does on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from monosema.core import InputError


class BagOfWords:
    """Logistic regression on words, marks and pairs of them, each weighed by tf·idf; score = P(concept | text).

    A text without any known word has the score ½: it says nothing.
    """

    def __init__(self, positive: Sequence[str], negative: Sequence[str], seed: int = 0) -> None:
        """Learn from texts that show the concept, and texts that don't.

        Raises InputError where one of the two lists is empty.
        """
        if not positive or not negative:
            raise InputError("A classifier of texts needs texts that show the concept, and texts that don't.")
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self._words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
        rows = self._words.fit_transform([*positive, *negative])
        labels = [1] * len(positive) + [0] * len(negative)
        # Regularisation as weak as fits few, short texts; both classes count alike.
        self._model = LogisticRegression(C=10, class_weight="balanced", random_state=seed).fit(rows, labels)

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, " texts"]:
        """Score texts."""
        if not texts:
            return np.zeros(0)
        rows = self._words.transform(texts)
        scores = self._model.predict_proba(rows)[:, 1]
        known = np.asarray(rows.getnnz(axis=1)) > 0
        return np.where(known, scores, 0.5)
