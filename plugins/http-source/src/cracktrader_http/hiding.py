"""Keeping secrets out of whatever is shown: messages, reports, reprs."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
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


_here = threading.local()


def _hide_in_log(record: logging.LogRecord) -> bool:
    secrets: Secrets | None = getattr(_here, "secrets", None)
    if secrets is not None:
        record.msg, record.args = secrets.hide(record.getMessage()), ()
    return True


logging.getLogger("urllib3.connectionpool").addFilter(_hide_in_log)


class Secrets:
    """The secret values that one source knows; :meth:`hide` takes them out of a text."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def add(self, value: str) -> str:
        """Hide ``value`` from now on, in the ways that it may be written in an address or in JSON too; returns it."""
        if len(value) > 2:  # a shorter one is no secret, and hiding it would spoil the text
            inside = [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
            slashed = [text.replace("/", "\\/") for text in (value, *inside)]  # as PHP writes it
            forms = {value, quote(value, safe=""), quote(value), quote_plus(value), *inside, *slashed}
            self._values = tuple(sorted({*self._values, *forms}, key=len, reverse=True))
        return value

    def add_named(self, given: Any, name: str = "") -> None:
        """Hide the texts in ``given`` whose names sound secret, at any depth; words such as ``true`` are too short to be one."""
        if isinstance(given, Mapping):
            for key, value in given.items():
                self.add_named(value, f"{name} {key}")
        elif isinstance(given, (list, tuple)):
            for value in given:
                self.add_named(value, name)
        elif isinstance(given, str) and len(given) > 5 and SECRET_NAME.search(name):
            self.add(given)

    def hide(self, text: str) -> str:
        """``text`` without any of the secrets, and without what sounds like one in the addresses that it holds."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _without_secret_values(text)

    @contextlib.contextmanager
    def kept_from_logs(self) -> Iterator[None]:
        """What urllib3 logs of this thread's requests is without the secrets; it logs whole addresses."""
        _here.secrets = self
        try:
            yield
        finally:
            _here.secrets = None

    def are_in(self, text: str) -> bool:
        """Whether ``text`` holds a secret."""
        return any(value in text for value in self._values)

    def hide_url(self, url: str) -> str:
        """``url`` without the secrets and without what sounds like one."""
        return self.hide(shown_url(url))
