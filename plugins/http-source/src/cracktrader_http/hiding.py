"""Keeping secrets out of whatever is shown: messages, reports, reprs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, urlsplit

__all__ = ["HIDDEN", "SECRET_NAME", "Secrets", "shown_url"]

HIDDEN: Final = "***"
#: What a parameter or header is called that holds a secret.
SECRET_NAME: Final = re.compile(r"(?i)key|token|secret|pass|sign|auth|credential|session|cookie")
_QUERY_VALUE: Final = re.compile(r"([?&])([^=&#\s]+)=([^&#\s'\")]*)")


def shown_url(url: str) -> str:
    """``url`` without user, password, and the values of parameters that sound secret."""
    host = urlsplit(url).netloc if "://" in url else ""
    if "@" in host:
        url = url.replace(host, host.rpartition("@")[2], 1)
    return _without_secret_values(url)


def _without_secret_values(text: str) -> str:
    return _QUERY_VALUE.sub(lambda found: f"{found[1]}{found[2]}={HIDDEN}" if SECRET_NAME.search(found[2]) else found[0], text)


class Secrets:
    """The secret values that one source knows; :meth:`hide` takes them out of a text."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def add(self, value: str) -> str:
        """Hide ``value`` from now on, in the ways that it may be written in an address too; returns it."""
        if len(value) > 2:  # a shorter one is no secret, and hiding it would spoil the text
            forms = {value, quote(value, safe=""), quote(value), quote_plus(value)}
            self._values = tuple(sorted({*self._values, *forms}, key=len, reverse=True))
        return value

    def add_named(self, mapping: Mapping[str, Any]) -> None:
        """Hide the texts of ``mapping`` whose names sound secret; words such as ``true`` are too short to be one."""
        for name, value in mapping.items():
            if isinstance(value, str) and len(value) > 5 and SECRET_NAME.search(name):
                self.add(value)

    def hide(self, text: str) -> str:
        """``text`` without any of the secrets, and without what sounds like one in the addresses that it holds."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _without_secret_values(text)

    def are_in(self, text: str) -> bool:
        """Whether ``text`` holds a secret."""
        return any(value in text for value in self._values)

    def hide_url(self, url: str) -> str:
        """``url`` without the secrets and without what sounds like one."""
        return self.hide(shown_url(url))
