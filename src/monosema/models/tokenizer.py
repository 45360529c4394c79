"""Text to token ids and back, and pieces that can be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from monosema.core import DamagedFileError, FormatError, InputError, read_json
from monosema.models.chat import ChatTemplate


class Tokenizer:
    """A thin wrapper over a tokenizer of the `tokenizers` library.

    Attributes:
        bos_id, eos_id, pad_id: ids of the tokens that begin, end and fill up a sequence; None where there is none.
        end_ids: all tokens that end a text, or the model's turn in a chat.
        chat_template: how messages are written as one text; None where the model is not made for it.
        raw: the library's tokenizer.
    """

    def __init__(
        self,
        raw: tokenizers.Tokenizer,
        *,
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        end_ids: frozenset[int] = frozenset(),
        chat_template: ChatTemplate | None = None,
    ) -> None:
        self.raw = raw
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, pad_id
        self.end_ids = end_ids | ({eos_id} if eos_id is not None else set())
        self.chat_template = chat_template
        self._beyond: dict[int, str] = {}
        raw.no_padding()
        raw.no_truncation()

    @classmethod
    def from_folder(cls, folder: Path, model_config: Mapping[str, Any]) -> Tokenizer:
        """Read tokenizer.json, with the special tokens of tokenizer_config.json or else config.json.

        Raises:
            FormatError: there is no tokenizer.json.
            DamagedFileError: it can't be read.
        """
        path = folder / "tokenizer.json"
        if not path.exists():
            raise FormatError(
                f"There is no tokenizer.json in {folder}. Models with another kind of tokenizer file must be "
                "converted: load it with transformers' AutoTokenizer and save it again."
            )
        try:
            raw = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise DamagedFileError(f"{path} is not a tokenizer that can be read ({error}). Fetch it again.") from None
        settings: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).exists():
                settings |= read_json(folder / name)
        calls = folder / "generation_config.json"
        ends = [values.get("eos_token_id") for values in (model_config, read_json(calls) if calls.exists() else {})]
        ids = {name: _special_id(name, raw, settings, model_config) for name in ("bos", "eos", "pad")}
        template = ChatTemplate.from_folder(folder, settings)
        return cls(
            raw,
            bos_id=None if _marks_turns(raw, ids["bos"], template) else ids["bos"],
            eos_id=ids["eos"],
            pad_id=ids["pad"],
            end_ids=frozenset(id for end in ends for id in (end if isinstance(end, list) else [end]) if id is not None),
            chat_template=template,
        )

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that mark something and are no text."""
        return frozenset(id for id, token in self.raw.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def special_pieces(self) -> tuple[str, ...]:
        """Texts of such tokens, the longest first."""
        pieces = (str(token.content) for token in self.raw.get_added_tokens_decoder().values() if token.special)
        return tuple(sorted(pieces, key=len, reverse=True))

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.raw.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def limit(self, vocab: int) -> dict[int, str]:
        """Refuse from now on text with tokens that were added to the tokenizer and not to a model of `vocab` tokens.

        Returns these tokens, by their id.
        """
        added = self.raw.get_added_tokens_decoder()
        self._beyond = {id: str(token.content) for id, token in added.items() if id >= vocab}
        special = (self.bos_id, self.eos_id, self.pad_id)
        self.bos_id, self.eos_id, self.pad_id = (None if id in self._beyond else id for id in special)
        return dict(self._beyond)

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Ids of a text; with `bos`, also the special tokens that the model expects around it."""
        return self.encode_batch([text], bos)[0]

    def encode_batch(self, texts: Sequence[str], bos: bool = True) -> list[list[int]]:
        """Ids of each text; a text that already begins with the token that begins sequences is given no other.

        Raises InputError for a text with a token that the model has no embedding for.
        """
        rows = [encoding.ids for encoding in self.raw.encode_batch(list(texts), add_special_tokens=bos)]
        if self._beyond:
            self._check(rows)
        begin = self.bos_id
        if not bos or begin is None:
            return rows
        rows = [row if row[:1] == [begin] else [begin, *row] for row in rows]
        return [row[1:] if row[:2] == [begin, begin] else row for row in rows]

    def _check(self, rows: Sequence[Sequence[int]]) -> None:
        found = next((id for row in rows for id in row if id in self._beyond), None)
        if found is not None:
            raise InputError(
                f"The text holds {self._beyond[found]!r}, token {found} of the tokenizer, which the model has no "
                "embedding for: it was added to the tokenizer only. Remove it from the text."
            )

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a text that has its own special tokens, and the characters that each stands for."""
        (ids,) = self.encode_batch([text], bos=False)
        return ids, self.raw.encode(text, add_special_tokens=False).offsets

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of ids."""
        return self.raw.decode(list(ids), skip_special_tokens=skip_special)

    def id(self, piece: str) -> int:
        """The id of the token that a text (``" the"``) is. Raises InputError if it isn't one token."""
        ids = self.encode(piece, bos=False)
        if len(ids) != 1:
            spaced = f" {piece}"
            if piece[:1].strip() and len(self.encode(spaced, bos=False)) == 1:
                raise InputError(f"{piece!r} is {len(ids)} tokens, not one: take {spaced!r}, with the space before it.")
            raise InputError(f"{piece!r} is {len(ids)} tokens, not one: {self.tokens(ids)}.")
        return ids[0]

    def token(self, id: int) -> str:
        """Return a token's text, to be shown, with ``<0xE2>`` for bytes that are no whole character.

        Raises InputError when there is no such token.
        """
        piece = self.raw.id_to_token(id)
        if piece is None:
            raise InputError(f"There is no token {id}: the tokenizer knows 0 to {self.vocab_size - 1}.")
        if id in self._added:
            return piece
        if self._is_bytes:
            return _show(bytes(_BYTE_OF[char] for char in piece)) if all(char in _BYTE_OF for char in piece) else piece
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return _show(bytes([int(piece[3:5], 16)]))
        return piece.replace("▁", " ")

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return each token's text; ``<50277>`` for an id that only the model has (a padded vocabulary)."""
        shown = self._shown
        return [shown[id] if id in shown else shown.setdefault(id, self._show(id)) for id in map(int, ids)]

    def _show(self, id: int) -> str:
        return f"<{id}>" if self.raw.id_to_token(id) is None else self.token(id)

    @cached_property
    def _shown(self) -> dict[int, str]:
        # Text repeats its tokens, and to look one up in the library takes longer than here.
        return {}

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self.raw.get_added_tokens_decoder())

    @cached_property
    def _is_bytes(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self.raw.to_str())["decoder"])


def _marks_turns(raw: tokenizers.Tokenizer, bos: int | None, template: ChatTemplate | None) -> bool:
    """True if what is called the BOS is written by the chat template alone, where turns begin (SmolLM2's
    ``<|im_start|>``): the tokenizer begins no text with it, nor do GGUF files of such models."""
    if bos is None or template is None or str(raw.id_to_token(bos)) not in template.source:
        return False
    return bos not in raw.encode("", add_special_tokens=True).ids


def _special_id(
    name: str, raw: tokenizers.Tokenizer, settings: Mapping[str, Any], model_config: Mapping[str, Any]
) -> int | None:
    if f"{name}_token" in settings:
        token = settings[f"{name}_token"]
        return None if token is None else raw.token_to_id(token["content"] if isinstance(token, Mapping) else token)
    stand_in = settings.get({"bos": "cls_token", "eos": "sep_token"}.get(name, ""))
    if isinstance(stand_in, str):
        return raw.token_to_id(stand_in)
    value = model_config.get(f"{name}_token_id")
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) and value >= 0 and raw.id_to_token(value) is not None else None


def _byte_alphabet() -> dict[str, int]:
    """The printable character that GPT-2's tokenizer writes for each byte, inverted."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _show(content: bytes) -> str:
    """Text, with ``<0xE2>`` for each byte that is part of no whole character."""
    shown = content.decode("utf-8", errors="surrogateescape")
    return "".join(f"<0x{ord(char) - 0xDC00:02X}>" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in shown)
