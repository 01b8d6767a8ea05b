"""What the name of a file says that it holds: coinbase_BTC-USD_1d.csv is no ETH/USD, and no hours.

Only where that is plain. A pair is plain where both of its parts are widely known; of a name that says something else, or
nothing, at most a note is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cracktrader.request import BarRequest
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader_csv.naming import timeframe_of, words_of

__all__ = ["Doubt", "doubt_about"]

# ruff: noqa: SIM905  (words are read more easily than lists of them)
_FIAT: Final = frozenset("usd eur gbp jpy chf aud cad nzd try krw brl inr rub mxn zar sek nok pln sgd hkd cny".split())
_STABLE: Final = frozenset("usdt usdc busd fdusd tusd dai usdp".split())
_COINS: Final = frozenset(
    "btc eth bnb xrp sol ada doge trx ltc dot link bch xlm xmr etc avax shib matic pol atom fil icp apt arb sui hbar vet aave mkr"
    " eos xtz dash zec neo iota qtum bsv pepe ton uni algo ftm crv snx inj ldo grt stx rune tia wbtc steth".split()
)
_BASES: Final = _COINS | _FIAT | _STABLE | {"xau", "xag", "xpt", "xpd"}
_QUOTES: Final = _FIAT | _STABLE | {"btc", "eth", "bnb"}
_SAME: Final = {"xbt": "btc", "xdg": "doge", "bitcoin": "btc", "ethereum": "eth", "ether": "eth", "litecoin": "ltc",
                "dogecoin": "doge", "ripple": "xrp", "cardano": "ada", "solana": "sol", "ust": "usdt"}  # fmt: skip
_COIN_PAIR: Final = re.compile(r"[A-Z0-9]{2,10}(USDT|USDC|USD|EUR)")
_Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a name bears instead of what was asked for, and whether that is plain."""

    bears: str
    asked: str
    plain: bool


def doubt_about(name: str, request: BarRequest) -> Doubt | None:
    """Whether a file, or the archive that it is in, bears another name than that of the series asked for; None where not."""
    folders = re.split(r"[\\/]", name)
    for part in (folders[-1], *(folder for folder in folders[-2:-1] if folder.lower().endswith(".zip"))):
        claim = _Claim(words_of(part))
        if claim.pairs or claim.frames or claim.maybe:
            return claim.against(request.symbol, request.timeframe)
    return None


class _Claim:
    """The pairs and timeframes that some words bear, and what else is among them."""

    def __init__(self, words: list[str]) -> None:
        lower = [_same(word) for word in words]
        self.pairs: dict[_Pair, None] = {}
        used: set[int] = set()
        for at, word in enumerate(lower):
            if pair := _joined(word):
                self.pairs[pair] = None
                used.add(at)
        for at, (base, quote) in enumerate(pairwise(lower)):
            if base in _BASES and quote in _QUOTES and base != quote and not used & {at, at + 1}:
                self.pairs[base, quote] = None
                used |= {at, at + 1}
        self.words = frozenset(lower)
        self.rest = "".join(word for at, word in enumerate(lower) if at not in used)
        self.frames = {frame for word in words if (frame := timeframe_of(word)) in TIMEFRAMES}
        #: What may be a pair of something that is not widely known, or a coin without what it is paid in.
        self.maybe = [word.upper() for word in words if _COIN_PAIR.fullmatch(word) or _same(word) in _COINS]

    def against(self, symbol: str, timeframe: Timeframe) -> Doubt | None:
        """Where the words bear none of what was asked for."""
        asked = _Claim(words_of(symbol))
        pair = next(iter(asked.pairs), None) or _unknown_pair(symbol)
        base = pair[0] if pair else next((word for word in asked.words if word in _BASES), "")
        if symbol and not self._bears(symbol, pair, base):
            known = bool(self.pairs) and bool(base) and base not in self._apart
            bears = ", ".join(f"{base}/{quote}".upper() for base, quote in self.pairs) or ", ".join(self.maybe)
            if bears and (self.pairs or base):
                return Doubt(bears, symbol, known)
        if self.frames and timeframe not in self.frames:
            return Doubt(", ".join(sorted(self.frames)), str(timeframe), bool(self.pairs) and len(self.frames) == 1)
        return None

    @property
    def _apart(self) -> frozenset[str]:
        """Words that are not the base of a pair here."""
        return self.words - {base for base, _ in self.pairs}

    def _bears(self, symbol: str, pair: _Pair | None, base: str) -> bool:
        plain = "".join(words_of(symbol)).lower()
        if plain in self.rest or any(plain == word.lower() for word in self.maybe):
            return True
        if pair is not None and self.pairs:
            return pair in self.pairs or self.words.issuperset(pair)
        if base in self.words:
            return True
        return any(base == other for other, _ in self.pairs)


def _same(word: str) -> str:
    """A word under the one name that what it means goes by here."""
    return _SAME.get(word.lower(), word.lower())


def _joined(word: str) -> _Pair | None:
    """The pair that one word is, such as btcusdt."""
    for quote in sorted((*_QUOTES, "ust"), key=len, reverse=True):
        base = _same(word.removesuffix(quote))
        if base != word and base in _BASES:
            return base, _same(quote)
    return None


def _unknown_pair(symbol: str) -> _Pair | None:
    """The pair that was asked for, of something that is not widely known."""
    words = [_same(word) for word in words_of(symbol)]
    if len(words) > 1 and words[1] in _QUOTES:
        return words[0], words[1]
    told = re.fullmatch(rf"([a-z0-9]{{2,}}?)({'|'.join(sorted(_QUOTES, key=len, reverse=True))})", words[0]) if words else None
    return (told[1], told[2]) if told else None
