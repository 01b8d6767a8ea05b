"""Names of folders and files: safe on every file system, and never two things under one name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat

__all__ = ["identity_name", "name_of", "period_of", "periods", "timeframe_name"]

_PLAIN: Final = {"symbol": re.compile(r"[A-Z0-9][A-Z0-9._-]{0,40}(?<!\.)"), "source": re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")}
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # of Windows


def name_of(text: str, kind: str) -> str:
    """``text`` as the name of a folder.

    Where anything had to be changed, or where only upper and lower case tells two names apart, a hash of the exact text
    is added.

    >>> name_of("BTCUSDT", "symbol"), name_of("csv", "source")
    ('BTCUSDT', 'csv')
    >>> name_of("BTC/USDT", "symbol"), name_of("../../etc", "symbol")
    ('BTC_USDT~11b4defb0e96', 'etc~a9b8e97fdfc1')
    """
    if _PLAIN[kind].fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    # No dots: for Windows a name ends at the first, and CON.anything is the console.
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_-")[:40]
    return f"{slug}~{_hash(text)}"


def identity_name(identity: Mapping[str, Any]) -> str:
    """The folder of what a source was told to read: its options in short, and their hash."""
    if not identity:
        return "default"
    exact = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    words = "_".join(str(value) for value in identity.values() if isinstance(value, (str, int)))
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", words).strip("_-")[-40:].lstrip("_-")
    return f"{slug}~{_hash(exact)}"


def timeframe_name(timeframe: Timeframe) -> str:
    """The folder of a timeframe; months are ``mo``, because ``1m`` and ``1M`` are one name where case doesn't count."""
    return str(timeframe).replace("M", "mo")


def period_of(timeframe: Timeframe) -> Timeframe:
    """What one file holds: a month, or a year of bars of a day or longer."""
    return Timeframe("12M" if timeframe.step is None or timeframe.step >= 86_400_000 else "1M")


def periods(timeframe: Timeframe, time: int) -> str:
    """The name of the period that ``time`` lies in: ``2024-01``, or ``2024``."""
    period = period_of(timeframe)
    text = isoformat(period.floor(time))
    return text[: text.index("-", 1)] if period.amount == 12 else text[: text.index("-", 1) + 3]


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
