"""Addresses of files without their secrets."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["is_url", "redact"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
# A secret key may hold slashes: with a colon in front, everything up to the last @ is taken out.
_USER = re.compile(r"(://)(?:[^\s/]*:\S*|[^/@\s]*)@")
_QUERY = re.compile(r"(://[^\s?]*)\?[^\s'\"]*")


def is_url(path: object) -> bool:
    """Whether a path is for fsspec; ``C:\\file`` is not."""
    return isinstance(path, str) and _SCHEME.match(path) is not None


def redact(value: Any) -> Any:
    """Text, or a list of texts, with user names, passwords and query strings of URLs taken out.

    >>> redact("https://me:secret@host/btc.csv?token=abc")
    'https://…@host/btc.csv?…'
    """
    if isinstance(value, (list, tuple)):
        return [redact(one) for one in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    return _QUERY.sub(r"\1?…", _USER.sub(r"\1…@", value))
