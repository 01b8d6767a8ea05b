"""What a synthetic venue lists: a symbol with its price, tick, lot and temper."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from cracktrader.errors import InvalidOption
from cracktrader.synthetic.noise import key_of
from cracktrader.times import TimeLike

__all__ = ["LISTINGS", "Listing", "listing_of"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One symbol of a synthetic venue.

    ``price`` is what it costs when the market starts, in the quote currency; ``tick`` and ``lot`` are the
    steps of prices and amounts, as decimal text. ``trades`` is the usual number of trades a minute (under 3
    some minutes have none, and no bar) and ``amount`` the usual size of a trade in the quote currency.
    ``beta`` says how much of the market's moves the symbol makes, ``lag`` which part of them it makes a minute
    late, ``volatility`` how much it moves by itself (a year's standard deviation, 0.5 is 50 %), and ``spread``
    what lies between buyers and sellers, as a fraction of the price. There are no bars before ``since``.

    Raises :class:`~cracktrader.errors.InvalidOption`.
    """

    symbol: str
    price: float
    tick: str = "0.01"
    lot: str = "0.001"
    trades: float = 20.0
    amount: float = 400.0
    beta: float = 1.0
    lag: float = 0.2
    volatility: float = 0.5
    spread: float = 0.0002
    since: TimeLike | None = None

    def __post_init__(self) -> None:
        for name, least in (("price", 0.0), ("trades", 0.0), ("amount", 0.0)):
            if not least < getattr(self, name) < 1e12:
                raise InvalidOption(f"{name}={getattr(self, name)!r} of {self.symbol}: it must be positive.")
        if not (0 <= self.lag <= 1 and 0 <= self.spread < 0.1 and 0 <= self.volatility <= 10 and abs(self.beta) <= 10):
            raise InvalidOption(f"{self.symbol}: lag, spread, volatility or beta is out of range.",
                                hint="lag 0 to 1, spread 0 to 0.1, volatility 0 to 10, beta -10 to 10.")  # fmt: skip
        decimal_step(self.tick)
        decimal_step(self.lot)


def decimal_step(text: str) -> tuple[int, int]:
    """A decimal step as ``(units, scale)`` whole numbers, so that n steps are exactly ``n * units / scale``.

    >>> decimal_step("0.05"), decimal_step("10")
    ((5, 100), (10, 1))
    """
    try:
        step = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        step = Decimal(0)
    if not (step.is_finite() and Decimal("1e-12") <= step <= 1_000_000):
        raise InvalidOption(f"{text!r} can't be the step of prices or amounts.", hint="Give decimal text, such as '0.01'.")
    units, scale = step.as_integer_ratio()
    digits = max(0, -int(step.normalize().as_tuple().exponent))
    return units * (10**digits // scale), 10**digits


LISTINGS: Final = {
    item.symbol: item
    for item in (
        Listing("BTC/USDT", 7200, "0.01", "0.00001", trades=90, amount=900, lag=0.0, volatility=0.0, spread=0.00002),
        Listing("ETH/USDT", 130, "0.01", "0.0001", trades=55, amount=650, beta=1.1, lag=0.08, volatility=0.3, spread=0.0001),
        Listing("SOL/USDT", 3.2, "0.0001", "0.01", trades=25, amount=300, beta=1.2, volatility=0.6, since="2020-08-11T06:00"),
        Listing("DOGE/USDT", 0.0021, "0.000001", "1", trades=9, amount=220, beta=1.0, volatility=0.7, spread=0.0006),
        Listing("XMR/BTC", 0.0063, "0.000001", "0.001", trades=1.2, amount=0.02, beta=-0.1, lag=0.5, volatility=0.4),
    )
}  # fmt: skip
"""Listings that a market can be given by their symbol."""


def listing_of(symbol: str | Listing, seed: int) -> Listing:
    """The listing of a symbol: a known one, or one made up from the seed and the symbol's text."""
    if isinstance(symbol, Listing):
        return symbol
    if symbol in LISTINGS:
        return LISTINGS[symbol]
    key = key_of(seed, "listing", symbol)
    price = (1.0, 2.5, 6.0, 14.0, 35.0, 80.0, 190.0, 450.0)[key % 8]
    return Listing(symbol, price, "0.001" if price < 10 else "0.01", trades=2.0 + key % 40, beta=0.8 + key % 7 / 10,
                   volatility=0.3 + key % 5 / 10)  # fmt: skip
