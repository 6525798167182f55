"""The vocabulary of a GGUF file, checked: a model file is hostile input, so every field is doubted before use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyruntime.errors import GGUFError
from pyruntime.tokenizer.special import NAMED_IDS, NAMES, find_ends, find_strips
from pyruntime.tokenizer.token_type import TokenType

PREFIX = "tokenizer.ggml."
_MAX_STRINGS = 1 << 20  # tokens, or merges: the most seen are 262,144 and 514,906; tables of so many take 0.2 GB


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens and what they are. Ids are positions in `tokens`."""

    kind: str
    tokens: list[str]
    types: list[int]
    ids: dict[str, int]
    merges: list[tuple[str, str]]  # in order of rank; of BPE, else empty
    bos_id: int | None
    eos_id: int | None
    add_bos: bool | None  # None: the metadata does not say
    add_eos: bool
    end_ids: frozenset[int]
    strips: dict[int, tuple[bool, bool]]  # special tokens that swallow the white space to their left, to their right


def read_vocabulary(metadata: Mapping[str, Any], path: str = "") -> Vocabulary:
    """Read and check `tokenizer.ggml.*`. Raises GGUFError that names the file and the key."""
    return _Reader(metadata, path).vocabulary()


class Fields:
    """The keys under `tokenizer.ggml.`, each checked when it is asked for."""

    def __init__(self, metadata: Mapping[str, Any], path: str) -> None:
        self._metadata = metadata
        self.where = f"{path}: " if path else ""

    def error(self, key: str, problem: str) -> GGUFError:
        return GGUFError(f"{self.where}{PREFIX}{key} {problem}")

    def get(self, key: str, kind: type) -> Any:
        """The value, or None if there is none. Raises GGUFError if it is of another type."""
        value = self._metadata.get(PREFIX + key)
        if value is not None and not isinstance(value, kind):
            raise self.error(key, f"is of type {type(value).__name__}, not {kind.__name__}")
        return value

    def array(self, key: str, kind: type, what: str, length: int | None = None) -> list[Any] | None:
        """An array of plain numbers of one kind, `length` of them, or None if there is none."""
        values = self._metadata.get(PREFIX + key)
        if values is None:
            return None
        tolist = getattr(values, "tolist", None)  # a NumPy array, as the reader gives it
        values = tolist() if tolist is not None else values
        if not isinstance(values, list) or any(type(value) is not kind for value in values):
            raise self.error(key, f"is not an array of {what}")
        if length is not None and len(values) != length:
            raise self.error(key, f"has {len(values)} entries for {length} tokens")
        return list(values)

    def strings(self, key: str) -> list[str]:
        """A list of strings. Raises GGUFError if it is missing, too long, or holds something else."""
        values = self.get(key, list)
        if values is None:
            raise self.error(key, "is missing")
        if len(values) > _MAX_STRINGS:
            raise self.error(key, f"has {len(values)} entries, where at most {_MAX_STRINGS} may be")
        for i, value in enumerate(values):
            if type(value) is not str:
                raise self.error(f"{key}[{i}]", f"is of type {type(value).__name__}, not str")
        return list(values)

    def token_id(self, name: str, n_tokens: int) -> int | None:
        """The value of `<name>_token_id`, or None. Raises GGUFError if it is no id of a vocabulary of `n_tokens`."""
        key = f"{name}_token_id"
        value: int | None = self.get(key, int)
        if value is not None and (isinstance(value, bool) or not 0 <= value < n_tokens):
            raise self.error(key, f"is {value}, outside the vocabulary of {n_tokens} tokens")
        return value


class _Reader(Fields):
    def vocabulary(self) -> Vocabulary:
        kind = self.get("model", str)
        if kind is None:
            raise self.error("model", "is missing")
        tokens = self._tokens()
        ids = {token: i for i, token in enumerate(tokens)}
        if len(ids) != len(tokens):
            token, i = next((t, i) for i, t in enumerate(tokens) if ids[t] != i)
            raise self.error("tokens", f"holds {token[:80]!r} twice, as {i} and {ids[token]}")
        types = self._types(len(tokens))
        merges = self._merges(ids) if kind in ("gpt2", "gemma4") else []

        named = {name: self.token_id(name, len(tokens)) for name in NAMED_IDS}
        ends = find_ends(ids, types, named, made=NAMES.intersection(map("".join, merges)))
        names = [self._name(key) for key in ("general.name", "general.architecture", PREFIX + "pre")]
        return Vocabulary(
            kind=kind,
            tokens=tokens,
            types=types,
            ids=ids,
            merges=_reachable(merges, tokens, types),
            bos_id=named["bos"],
            eos_id=named["eos"],
            add_bos=self._flag("bos", named["bos"]),
            add_eos=bool(self._flag("eos", named["eos"])),
            end_ids=frozenset(ends),
            strips=find_strips(ids, types, *names),
        )

    def _name(self, key: str) -> str:
        value = self._metadata.get(key)
        return value if isinstance(value, str) else ""

    def _tokens(self) -> list[str]:
        tokens = self.strings("tokens")
        if not tokens:
            raise self.error("tokens", "is empty")
        # Some vocabularies are padded with empty tokens; the names are llama.cpp's.
        return [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]

    def _types(self, n_tokens: int) -> list[int]:
        types = self.array("token_type", int, "integers", n_tokens)
        return [int(TokenType.NORMAL)] * n_tokens if types is None else types

    def _merges(self, ids: dict[str, int]) -> list[tuple[str, str]]:
        merges = self.strings("merges")
        pairs = []
        for i, merge in enumerate(merges):
            left, _, right = merge.partition(" ")
            if not (left in ids and right in ids and left + right in ids):
                raise self._merge_error(i, merge, [token for token in (left, right, left + right) if token not in ids])
            pairs.append((left, right))
        # Of a merge given twice, the first rank counts.
        return pairs if len({*merges}) == len(merges) else list(dict.fromkeys(pairs))

    def _merge_error(self, i: int, merge: str, missing: list[str]) -> GGUFError:
        if "" in missing:
            return self.error(f"merges[{i}]", f"is {merge[:80]!r}, not two tokens with a space between")
        return self.error(f"merges[{i}]", f"names {missing[0][:80]!r}, which is not a token")

    def _flag(self, name: str, token_id: int | None) -> bool | None:
        key = f"add_{name}_token"
        value: bool | None = self.get(key, bool)
        if value and token_id is None:
            warnings.warn(
                f"{self.where}{PREFIX}{key} is true, but there is no {PREFIX}{name}_token_id: none is added",
                stacklevel=5,
            )
            return False
        return value


def _reachable(merges: list[tuple[str, str]], tokens: list[str], types: list[int]) -> list[tuple[str, str]]:
    """Without the merges that make or use a control token: plain text must never become one."""
    kinds = {int(TokenType.CONTROL), int(TokenType.UNKNOWN)}
    control = {token for token, kind in zip(tokens, types, strict=True) if kind in kinds}
    return [
        (left, right) for left, right in merges if not (left in control or right in control or left + right in control)
    ]
