"""What the embedded model reads: the tokenizer, the encoded corpus, and one batch for every step.

The corpus folder holds `books_train.parquet`, `books_validation.parquet`, `movie_reviews.parquet`,
`presidential_speeches.parquet` and `human_rights_declaration.parquet`; the code is the standard library of the Python
that runs this. Every batch is a function of (seed, step) alone, so a resumed run reads what an uninterrupted one reads.
"""

from __future__ import annotations

import random
import sysconfig
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from monosema.core.errors import ConfigError, CorpusError, InputError, RunError
from monosema.core.files import atomic_path
from monosema.data.tasks import ALL_TASKS, brackets, gender, names, sentiment, truth, weekdays
from monosema.data.tasks.induction import repeated

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SPECIAL = (BOS, EOS, PAD)
VOCABULARY = 4096
WORD_PATTERN = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DECLARATION_LANGUAGES = 40
REVIEWS_HELD_OUT_ONE_IN = 10
MODULES_HELD_OUT_ONE_IN = 25
CHUNK = 8_000
SOURCES = {"books": 0.68, "code": 0.14, "reviews": 0.10, "speeches": 0.05, "declaration": 0.03}
"""Share of each source in the rows of text."""


def required_words() -> tuple[str, ...]:
    """Strings that must be one token each: two-digit numbers, and the words that tasks ask about, with their space."""
    words = [*names.NAMES, *names.PLACES, *names.OBJECTS, *weekdays.DAYS, *weekdays.MONTHS, *truth.NUMBERS]
    words += [*sentiment.GOOD, *sentiment.BAD, *sentiment.LIKED, *sentiment.HATED, *sentiment.NOUNS, *brackets.WORDS]
    words += [thing for facts, _ in truth.RELATIONS.values() for thing in facts.values()]
    words += [word for noun in gender.MALE_NOUNS + gender.FEMALE_NOUNS for word in noun.split()]
    words += ["true", "false", "positive", "negative", "he", "she", "(", ")", "[", "]", "{", "}"]
    digits = [f"{number:02d}" for number in range(100)]
    return tuple(dict.fromkeys([f" {word}" for word in words] + digits + [f" {pair}" for pair in digits]))


# -- documents -----------------------------------------------------------------------------------------------------


def _column(path: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(columns)).to_pydict()
    yield from zip(*(table[name] for name in columns), strict=True)


def _held_out(key: str, one_in: int) -> bool:
    return zlib.crc32(key.encode()) % one_in == 0


def code_documents(held_out: bool) -> Iterator[str]:
    """Source files of the running Python's standard library; `held_out` chooses the modules kept for validation."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip", "__pycache__", "turtledemo"}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if (
            skipped & set(path.relative_to(root).parts)
            or path.stat().st_size > 400_000
            or name.startswith("_sysconfig")
        ):
            continue
        if _held_out(name, MODULES_HELD_OUT_ONE_IN) == held_out:
            yield path.read_text(encoding="utf-8", errors="ignore")


def review_documents(corpus: Path, held_out: bool) -> Iterator[tuple[str, bool]]:
    """(review, whether it is positive); every tenth, by checksum, is held out."""
    for text, label in _column(corpus / "movie_reviews.parquet", "text", "label"):
        if _held_out(text[:200], REVIEWS_HELD_OUT_ONE_IN) == held_out:
            yield text, bool(label)


def _reviews_with_verdict(corpus: Path) -> Iterator[str]:
    for text, positive in review_documents(corpus, held_out=False):
        yield f"{text.strip()}\n\nThe review is {'positive' if positive else 'negative'}."


def documents(corpus: Path, source: str) -> Iterator[str]:
    """Training documents of one of `SOURCES`, or of the validation sources `books_validation` and `code_validation`."""
    match source:
        case "books" | "books_validation":
            file = "books_train.parquet" if source == "books" else "books_validation.parquet"
            yield from (text for (text,) in _column(corpus / file, "text"))
        case "code" | "code_validation":
            yield from code_documents(held_out=source == "code_validation")
        case "reviews":
            yield from _reviews_with_verdict(corpus)
        case "speeches":
            yield from (text for (text,) in _column(corpus / "presidential_speeches.parquet", "text"))
        case "declaration":
            rows = list(_column(corpus / "human_rights_declaration.parquet", "text"))
            yield from (text for (text,) in rows[:: max(1, len(rows) // DECLARATION_LANGUAGES)])
        case _:
            raise CorpusError(f"unknown source {source!r}; valid: {[*SOURCES, 'books_validation', 'code_validation']}")


def _chunks(text: str) -> Iterator[str]:
    """Pieces of about `CHUNK` characters, cut before a line break where there is one."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start + 1, start + CHUNK) if len(text) - start > CHUNK else len(text)
        end = end if end > start else start + CHUNK
        yield text[start:end]
        start = end


# -- tokenizer -----------------------------------------------------------------------------------------------------


def _tokenizer_text(corpus: Path, seed: int) -> Iterator[str]:
    """A sample of every source, skill sentences, and the required words often enough to become tokens."""
    rng = random.Random(seed)
    share = {"books": 0.18, "code": 0.35, "reviews": 0.4, "speeches": 0.5, "declaration": 0.5}
    for source, keep in share.items():
        for text in documents(corpus, source):
            yield from (chunk for chunk in _chunks(text) if rng.random() < keep)
    for family in ALL_TASKS.values():
        yield from family.sentences(rng, 2_000, "train")
    for word in required_words():
        yield word * 1_500 if word.startswith(" ") else (word + "\n") * 1_500


def train_tokenizer(corpus: Path, seed: int = 0) -> Tokenizer:
    """Byte-level BPE of `VOCABULARY` tokens; raises `CorpusError` if a required word is not one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(corpus, seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    missing = [word for word in required_words() if len(tokenizer.encode(word, add_special_tokens=False).ids) != 1]
    if missing:
        raise CorpusError(f"{len(missing)} required words are not single tokens: {missing[:20]}")
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of a token of the vocabulary; raises `InputError` if there is none."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise InputError(f"the tokenizer has no token {token!r}.")
    return number


# -- encoded corpus ------------------------------------------------------------------------------------------------


def encode_source(tokenizer: Tokenizer, corpus: Path, source: str) -> NDArray[np.uint16]:
    """All documents of a source in one row of tokens, each between its bos and its eos."""
    bos, eos = token_id(tokenizer, BOS), token_id(tokenizer, EOS)
    parts: list[NDArray[np.uint16]] = []
    for text in documents(corpus, source):
        encoded = tokenizer.encode_batch_fast(list(_chunks(text)), add_special_tokens=False)
        ids = [token for piece in encoded for token in piece.ids]
        parts.append(np.array([bos, *ids, eos], dtype=np.uint16))
    return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The encoded corpus.

    Attributes:
        tokenizer: the tokenizer that encoded it.
        sources: tokens of each source, validation sources included.
        frequencies: relative frequency of every token id in the training sources, special tokens at zero.
    """

    tokenizer: Tokenizer
    sources: Mapping[str, NDArray[np.uint16]]
    frequencies: NDArray[np.float64]

    @property
    def bos(self) -> int:
        """Id of the token that begins every text."""
        return token_id(self.tokenizer, BOS)

    @property
    def eos(self) -> int:
        """Id of the token that ends every document."""
        return token_id(self.tokenizer, EOS)


def prepare(corpus: Path, out: Path, *, seed: int = 0, tokenizer: Path | None = None) -> Corpus:
    """Train the tokenizer (or take one) and encode the corpus once into `out`; later calls read what is there.

    Raises `RunError` if `out` was made with another tokenizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "tokenizer.json"
    if not path.exists():
        with atomic_path(path) as temporary:
            (Tokenizer.from_file(str(tokenizer)) if tokenizer else train_tokenizer(corpus, seed)).save(str(temporary))
    made = Tokenizer.from_file(str(path))
    if tokenizer is not None and made.get_vocab() != Tokenizer.from_file(str(tokenizer)).get_vocab():
        raise RunError(f"{out} was made with another tokenizer than {tokenizer}; give another --out, or none.")
    arrays = {}
    for source in (*SOURCES, "books_validation", "code_validation"):
        file = out / f"tokens-{source}.npy"
        if not file.exists():
            with atomic_path(file) as temporary, open(temporary, "wb") as handle:
                np.save(handle, encode_source(made, corpus, source))
        arrays[source] = np.load(file, mmap_mode="r")
    counts = np.zeros(VOCABULARY)
    for source in SOURCES:
        counts += np.bincount(arrays[source], minlength=VOCABULARY)
    counts[[token_id(made, token) for token in SPECIAL]] = 0
    return Corpus(tokenizer=made, sources=arrays, frequencies=counts / counts.sum())


# -- batches -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Share of rows of each kind; what remains of 1 is text.

    Attributes:
        repeats: repeated sequences.
        uniform: share of the repeats whose tokens are drawn uniformly instead of by natural frequency.
        periods: smallest and largest period of the repeats.
        skills: weight of each task, as a share of all rows.
    """

    repeats: float
    uniform: float
    periods: tuple[int, int]
    skills: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 <= self.repeats + sum(self.skills.values()) <= 1:
            raise ConfigError(f"shares of a Mix must lie in [0, 1] together, got {self}.")


def _skill_row(corpus: Corpus, rng: random.Random, skills: Mapping[str, float], width: int) -> list[int]:
    """Sentences of one skill, or of all, joined by spaces or as documents of their own, to `width` tokens."""
    bos, eos = corpus.bos, corpus.eos
    kinds, weights = list(skills), list(skills.values())
    only = rng.choices(kinds, weights)[0] if rng.random() < 0.5 else None
    joined = rng.random() < 0.4
    row: list[int] = []
    while len(row) < width:
        drawn = [only or kind for kind in rng.choices(kinds, weights, k=4)]
        made = [ALL_TASKS[kind].sentences(rng, 1, "train")[0] for kind in drawn]
        if joined:
            text = " ".join(made)
            row += ([bos] if not row else []) + corpus.tokenizer.encode(
                text if not row else f" {text}", add_special_tokens=False
            ).ids
        else:
            for piece in corpus.tokenizer.encode_batch_fast(made, add_special_tokens=False):
                row += [bos, *piece.ids, eos]
    return row[:width]


def batch(corpus: Corpus, mix: Mix, rows: int, context: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Tokens of one step, rows × (context + 1), a function of (seed, step) alone; every row begins with bos."""
    rng = np.random.default_rng([seed, step])
    words = random.Random(seed * 1_000_003 + step)
    bos = corpus.bos
    out = np.full((rows, context + 1), bos, dtype=np.int64)
    skill_share = sum(mix.skills.values())
    for row in range(rows):
        kind = rng.random()
        if kind < mix.repeats:
            natural = rng.random() >= mix.uniform
            vocabulary = np.arange(len(SPECIAL), VOCABULARY)
            probabilities = corpus.frequencies[len(SPECIAL) :] if natural else None
            out[row, 1:], _ = repeated(
                rng, 1, context, periods=mix.periods, vocabulary=vocabulary, probabilities=probabilities
            )
        elif kind < mix.repeats + skill_share:
            out[row] = _skill_row(corpus, words, mix.skills, context + 1)
        else:
            tokens = corpus.sources[rng.choice(list(SOURCES), p=list(SOURCES.values()))]
            start = rng.integers(0, len(tokens) - context)
            out[row, 1:] = tokens[start : start + context]
    return out
