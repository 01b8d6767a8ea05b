"""Keeping secrets out of whatever is shown: which options are some, and texts without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

__all__ = ["Secrets", "plain", "told_of", "wrapped"]

_HIDDEN: Final = "***"
#: What ccxt calls its credentials, and what others call theirs.
_SECRET_NAME: Final = re.compile(r"(?i)key|secret|pass|token|sign|auth|credential|cookie|twofa|otp|^uid$|^login$|wallet")
#: Proxies may have a password in their address.
_PROXY_NAME: Final = re.compile(r"(?i)prox(y|ies)")
_QUERY_VALUE: Final = re.compile(r"([?&])([^=&#\s]+)=([^&#\s'\")]*)")
_USER_IN_URL: Final = re.compile(r"(://)[^/@\s'\"]+@")


def wrapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with every text that may be a secret as a ``SecretStr``."""
    return {name: _wrap(str(name), value) for name, value in config.items()}


def _wrap(name: str, value: Any, *, secret: bool = False) -> Any:
    secret = secret or bool(_PROXY_NAME.search(name))
    if isinstance(value, Mapping):
        return {key: _wrap(str(key), inner, secret=secret) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_wrap(name, inner, secret=secret) for inner in value]
    if isinstance(value, str) and (secret or _SECRET_NAME.search(name) or "@" in value):
        return SecretStr(value)
    return value


def plain(value: Any) -> Any:
    """What :func:`wrapped` wrapped, as ccxt takes it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def told_of(value: Any) -> str:
    """A value as text; where there is a secret in what :func:`wrapped` wrapped, a digest too short to guess it by."""
    if not any(_secrets_of(value)):
        return str(value)
    return f"#{blake2b(repr(plain(value)).encode(), digest_size=2).hexdigest()}"


def _secrets_of(value: Any) -> Iterator[bool]:
    if isinstance(value, SecretStr):
        yield True
    elif isinstance(value, (Mapping, list, tuple)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _secrets_of(inner)


class Secrets:
    """The secrets among some options; :meth:`hide` takes them out of a text."""

    def __init__(self, *options: Any) -> None:
        forms = {form for value in _secrets(options) for form in (value, quote(value, safe=""), quote(value), quote_plus(value))}
        self._values = sorted(forms, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """``text`` without the secrets, and without what sounds like one in the addresses that it holds."""
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        text = _USER_IN_URL.sub(rf"\1{_HIDDEN}@", text)
        return _QUERY_VALUE.sub(lambda said: f"{said[1]}{said[2]}={_HIDDEN}" if _SECRET_NAME.search(said[2]) else said[0], text)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        if len(value.get_secret_value()) > 2:  # a shorter one is none, and hiding it would spoil the text
            yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets(inner)
