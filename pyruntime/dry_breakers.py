"""In which tokens the texts stand that end a repetition (DRY's sequence breakers)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer

_known: WeakKeyDictionary[Tokenizer, dict[tuple[str, ...], list[list[int]]]] = WeakKeyDictionary()


def breaker_sequences(tokenizer: Tokenizer, breakers: Sequence[str]) -> list[list[int]]:
    """Sequences of ids after which a breaker has come to its end: each token that holds one; a token that ends with the
    first characters of one, with the tokens of the others; and its own tokens.

    Looks at every token of the vocabulary, which for 262,144 takes half a second; kept as long as the tokenizer.
    """
    known = _known.setdefault(tokenizer, {})
    key = tuple(breakers)
    if key not in known:
        known[key] = sorted(map(list, set(_sequences(tokenizer, key))))
    return known[key]


def _sequences(tokenizer: Tokenizer, breakers: tuple[str, ...]) -> Iterable[tuple[int, ...]]:
    holds_one = re.compile(b"|".join(re.escape(breaker.encode()) for breaker in breakers)).search
    begun = [
        (breaker[:n].encode(), tuple(tokenizer.encode(breaker[n:], add_special=False, at_start=False)))
        for breaker in breakers
        for n in range(1, len(breaker))
    ]
    for i in range(tokenizer.n_vocab):
        token = tokenizer.decode_bytes([i], at_start=False)
        if holds_one(token):
            yield (i,)
        else:
            yield from ((i, *rest) for head, rest in begun if token.endswith(head))
    for breaker in breakers:
        yield tuple(tokenizer.encode(breaker, add_special=False, at_start=False))
