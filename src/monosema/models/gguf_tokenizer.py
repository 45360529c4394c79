"""The tokenizer and the chat template that a GGUF file's metadata describe.

Two kinds are read, by `tokenizer.ggml.model`: "gpt2", BPE over bytes, whose merges are stored and whose cut of a text
into words is named by `tokenizer.ggml.pre`; and "llama", SentencePiece's BPE, whose merges follow from the tokens'
scores. A cut that is not known is refused, as other tokens would silently be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from monosema.core import DamagedFileError, UnsupportedModelError
from monosema.models.chat import ChatTemplate
from monosema.models.tokenizer import Tokenizer

_KEY = "tokenizer.ggml."
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Kinds of tokens."""
_ORDERED_BY_ID = frozenset({"gemma", "gemma2", "gemma3"})
"""Architectures whose scores do not tell the order of merges; the tokens' ids do."""


def _words(digits: str) -> str:
    """Make the pattern by which Llama 3 and its followers cut a text; they differ in the digits that stay together."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )


_REGEXES = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"), _words(r"\p{N}{1,3}")),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), _words(r"\p{N}")),
}
_GPT2 = ("gpt-2", "olmo", "phi-2", "jina-es", "jina-de", "gigachat", "mpt", "jais")
_DIGITS_FIRST = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_WITHOUT_NAME = ("gpt2", "gptneox")
"""Architectures whose old files don't say how they cut, as there was one way."""


def gguf_tokenizer(metadata: Mapping[str, Any], path: Path) -> Tokenizer:
    """The tokenizer of a file.

    Raises:
        UnsupportedModelError: another kind of tokenizer, or a cut into words that is not known.
        DamagedFileError: parts of it are missing.
    """
    settings = {key.removeprefix(_KEY): value for key, value in metadata.items() if key.startswith(_KEY)}
    kind = settings.get("model")
    tokens = settings.get("tokens")
    if not tokens:
        raise DamagedFileError(f"{path} holds no tokens ({_KEY}tokens): load the model from a whole file.")
    architecture = str(metadata.get("general.architecture"))
    if kind == "gpt2":
        raw = _byte_level(tokens, settings, architecture, path)
    elif kind == "llama":
        raw = _sentencepiece(tokens, settings, architecture, path)
    else:
        raise UnsupportedModelError(f"{path} has a tokenizer of the kind {kind!r}. Supported: 'gpt2', 'llama'.")
    _add_whole(raw, tokens, settings)
    ids = {name: settings.get(f"{name}_token_id") for name in ("bos", "eos", "padding", "unknown", "eot", "eom")}
    ids = {name: id if isinstance(id, int) and id < len(tokens) else None for name, id in ids.items()}
    source = metadata.get("tokenizer.chat_template")
    names = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    variables = {other: tokens[ids[name]] for name, other in names.items() if ids[name] is not None}
    return Tokenizer(
        raw,
        bos_id=ids["bos"] if settings.get("add_bos_token", True) else None,
        eos_id=ids["eos"],
        pad_id=ids["padding"],
        end_ids=frozenset(id for name, id in ids.items() if name in ("eot", "eom") and id is not None),
        chat_template=ChatTemplate(source, variables) if source else None,
    )


def _byte_level(tokens: list[str], settings: Mapping[str, Any], architecture: str, path: Path) -> tokenizers.Tokenizer:
    if "merges" not in settings:
        raise DamagedFileError(f"{path} holds no merges ({_KEY}merges), which its tokenizer needs.")
    merges = [tuple(merge.split(" ", 1)) for merge in settings["merges"]]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    cut = settings.get("pre", "gpt-2" if architecture in _WITHOUT_NAME else None)
    words: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut not in _REGEXES)
    if cut in _REGEXES:
        words = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_REGEXES[cut]), "isolated"), words])
    elif cut in _DIGITS_FIRST:
        words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    elif cut not in _GPT2:
        known = ", ".join(sorted((*_GPT2, *_DIGITS_FIRST, *_REGEXES)))
        raise UnsupportedModelError(
            f"{path} cuts a text into words in the way {cut!r} ({_KEY}pre), which is not known: other tokens would be "
            f"read. Supported: {known}."
        )
    whole_words = cut in _REGEXES and "llama" in str(cut)
    raw = tokenizers.Tokenizer(_bpe(path, vocab=vocabulary, merges=merges, ignore_merges=whole_words))
    raw.pre_tokenizer = words
    raw.decoder = decoders.ByteLevel()
    return raw


def _sentencepiece(
    tokens: list[str], settings: Mapping[str, Any], architecture: str, path: Path
) -> tokenizers.Tokenizer:
    # Runs of spaces are stored as spaces where they were the user's own symbols.
    pieces = ["▁" * len(token) if token and not token.strip(" ") else token for token in tokens]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    by_id = architecture in _ORDERED_BY_ID
    scores = [-float(id) for id in range(len(pieces))] if by_id else settings.get("scores")
    if scores is None or len(scores) != len(pieces):
        raise DamagedFileError(f"{path} lacks the scores of its tokens ({_KEY}scores), from which merges follow.")
    unknown = settings.get("unknown_token_id", 0)
    model = _bpe(
        path,
        vocab=vocabulary,
        merges=_merges(vocabulary, scores),
        unk_token=pieces[unknown] if unknown < len(pieces) else None,
        fuse_unk=True,
        byte_fallback=True,
    )
    raw = tokenizers.Tokenizer(model)
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if settings.get("add_space_prefix", not by_id):
        raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence(steps)
    return raw


def _bpe(path: Path, **parts: Any) -> models.BPE:
    try:
        return models.BPE(**parts)
    except Exception as error:  # the library raises bare Exception
        raise DamagedFileError(f"The tokenizer in {path} can't be read ({error}). Fetch it again.") from None


def _merges(vocabulary: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to join two tokens to a third: best third first, then the longer first part, as transformers has it."""
    found = []
    for piece, id in vocabulary.items():
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((-scores[id], -cut, left, right))
    found.sort(key=lambda merge: merge[:2])
    return [(left, right) for _, _, left, right in found]


def _add_whole(raw: tokenizers.Tokenizer, tokens: list[str], settings: Mapping[str, Any]) -> None:
    """Tokens that are never cut: control tokens are special, a user's own are text."""
    kinds = settings.get("token_type") or []
    known = raw.get_vocab(with_added_tokens=False)
    for wanted, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        chosen = [token for token, kind in zip(tokens, kinds, strict=False) if kind == wanted and token in known]
        whole = [AddedToken(token, normalized=False, special=special) for token in chosen]
        _ = raw.add_special_tokens(whole) if special else raw.add_tokens(whole)
