"""Time zones for backtrader: it asks for pytz's ``localize``, which nothing else has."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cracktrader.times import parse_zone

__all__ = ["Zone", "backtrader_zone"]


class Zone(dt.tzinfo):
    """Any ``tzinfo``, with the ``localize`` that backtrader calls."""

    def __init__(self, zone: dt.tzinfo) -> None:
        self._zone = zone

    def localize(self, moment: dt.datetime) -> dt.datetime:
        """A naive time as one of this zone; an aware one stays as it is."""
        return moment if moment.tzinfo else moment.replace(tzinfo=self)

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return self._zone.utcoffset(self._theirs(moment))

    def dst(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return self._zone.dst(self._theirs(moment))

    def tzname(self, moment: dt.datetime | None) -> str | None:
        return self._zone.tzname(self._theirs(moment))

    def fromutc(self, moment: dt.datetime) -> dt.datetime:
        return self._zone.fromutc(moment.replace(tzinfo=self._zone)).replace(tzinfo=self)

    def _theirs(self, moment: dt.datetime | None) -> dt.datetime | None:
        return moment and moment.replace(tzinfo=self._zone)

    def __repr__(self) -> str:
        return f"Zone({self._zone!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Zone, (self._zone,)


def backtrader_zone(zone: Any) -> Any:
    """What backtrader can use for a zone's name or a ``tzinfo``; None stays None, pytz's own stay as they are.

    Raises :class:`~cracktrader.errors.InvalidTime` for a name that is no zone.
    """
    if zone is None or hasattr(zone, "localize"):
        return zone
    return Zone(parse_zone("CST6CDT" if zone == "CST" else zone))  # the one alias that backtrader has
