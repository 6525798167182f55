"""The vocabulary of a GGUF file, checked: a model file is hostile input, so every field is doubted before use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyruntime import _core
from pyruntime.errors import GGUFError, shown
from pyruntime.tokenizer.special import NAMED_IDS, find_ends, find_strips
from pyruntime.tokenizer.token_type import TokenType

PREFIX = "tokenizer.ggml."
OTHER_TYPE = 255  # a number of token_type that is none of TokenType
_DTYPE_KINDS = {int: "iu", float: "f"}
_MAX_STRINGS = 1 << 20  # tokens, or merges: the most seen are 262,144 and 514,906; tables of so many take 0.2 GB


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens and what they are. Ids are positions in `tokens`."""

    kind: str
    tokens: _core.Tokens
    types: bytearray  # of each token a TokenType, or OTHER_TYPE
    merges: _core.Merges | None  # of BPE
    bos_id: int | None
    eos_id: int | None
    add_bos: bool | None  # None: the metadata does not say
    add_eos: bool
    end_ids: frozenset[int]
    strips: dict[int, tuple[bool, bool]]  # special tokens that swallow the white space to their left, to their right

    def of_types(self, *types: int) -> list[int]:
        """The ids of the tokens of these types, ascending."""
        found: list[int] = np.flatnonzero(np.isin(np.frombuffer(self.types, np.uint8), types)).tolist()
        return found


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
            found = list if isinstance(value, _core.Strings) else type(value)
            raise self.error(key, f"is of type {found.__name__}, not {kind.__name__}")
        return value

    def array(self, key: str, kind: type, what: str, length: int | None = None) -> NDArray[Any] | None:
        """An array of plain numbers of one kind, `length` of them, or None if there is none."""
        values = self._metadata.get(PREFIX + key)
        if values is None:
            return None
        if isinstance(values, list) and all(type(value) is kind for value in values):
            values = _as_array(values, kind)
        # A NumPy array, as the reader gives it; an empty one is of all kinds.
        if not isinstance(values, np.ndarray) or (values.size and values.dtype.kind not in _DTYPE_KINDS[kind]):
            raise self.error(key, f"is not an array of {what}")
        if length is not None and len(values) != length:
            raise self.error(key, f"has {len(values)} entries for {length} tokens")
        return values

    def strings(self, key: str) -> _core.Strings:
        """A list of strings. Raises GGUFError if it is missing, too long, or holds something else."""
        values = self._metadata.get(PREFIX + key)
        if not isinstance(values, _core.Strings):
            values = self.get(key, list)
        if values is None:
            raise self.error(key, "is missing")
        if len(values) > _MAX_STRINGS:
            raise self.error(key, f"has {len(values)} entries, where at most {_MAX_STRINGS} may be")
        return values if isinstance(values, _core.Strings) else self._made_strings(key, values)

    def _made_strings(self, key: str, values: list[Any]) -> _core.Strings:
        for i, value in enumerate(values):
            if type(value) is not str:
                raise self.error(f"{key}[{i}]", f"is of type {type(value).__name__}, not str")
        try:
            return _core.Strings(values)
        except UnicodeEncodeError as error:  # a file's are UTF-8, or the reader refuses it
            raise self.error(key, f"holds {shown(error.object)}, which has a lone surrogate") from None

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
        types = self._types(len(tokens))
        merges = self._merges(tokens) if kind in ("gpt2", "gemma4") else None

        named = {name: self.token_id(name, len(tokens)) for name in NAMED_IDS}
        ends = find_ends(tokens.find, types, named, makes=lambda i: merges is not None and merges.make(i))
        names = [self._name(key) for key in ("general.name", "general.architecture", PREFIX + "pre")]
        return Vocabulary(
            kind=kind,
            tokens=tokens,
            types=types,
            merges=merges,
            bos_id=named["bos"],
            eos_id=named["eos"],
            add_bos=self._flag("bos", named["bos"]),
            add_eos=bool(self._flag("eos", named["eos"])),
            end_ids=frozenset(ends),
            strips=find_strips(tokens.find, types, *names),
        )

    def _name(self, key: str) -> str:
        value = self._metadata.get(key)
        return value if isinstance(value, str) else ""

    def _tokens(self) -> _core.Tokens:
        strings = self.strings("tokens")
        if not len(strings):
            raise self.error("tokens", "is empty")
        tokens = _core.Tokens(strings)
        if tokens.duplicate is not None:
            first, last = tokens.duplicate
            raise self.error("tokens", f"holds {tokens[first][:80]!r} twice, as {first} and {last}")
        return tokens

    def _types(self, n_tokens: int) -> bytearray:
        types = self.array("token_type", int, "integers", n_tokens)
        if types is None:
            return bytearray([TokenType.NORMAL]) * n_tokens
        known = (types >= min(TokenType)) & (types <= max(TokenType))
        return bytearray(np.where(known, types, OTHER_TYPE).astype(np.uint8).tobytes())

    def _merges(self, tokens: _core.Tokens) -> _core.Merges:
        lines = self.strings("merges")
        merges = _core.Merges(tokens, lines)
        if (i := merges.malformed) is not None:
            left, _, right = lines[i].partition(" ")
            missing = [token for token in (left, right, left + right) if tokens.find(token) is None]
            raise self._merge_error(i, lines[i], missing)
        return merges

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


def _as_array(values: list[Any], kind: type) -> NDArray[Any]:
    if kind is int:  # of any size: what an int64 does not hold is as wrong as its largest number
        return np.array([max(-(1 << 63), min(value, (1 << 63) - 1)) for value in values], np.int64)
    return np.array(values, np.float64)
