"""Which data a configured source reads: what the catalog keeps series apart by."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, SecretBytes, SecretStr

from cracktrader.errors import InvalidOption

__all__ = ["identity_of"]

#: Options of such names are secrets, and change without the data being another.
_SECRET: Final = re.compile(
    r"(?i)authorization|bearer|passw|passphrase|pwd|secret|signature|credential|cookie|(api|access|private)[-_ ]?key"
    r"|(access|auth|refresh|security|session)[-_ ]?token"
)
#: Options of such names may be: a token is also a coin. Their texts are not written down, but told apart.
_DOUBTFUL: Final = re.compile(r"(?i)key|token|pass|sig|auth")


def identity_of(config: BaseModel | None) -> dict[str, Any]:
    """The options that were set to anything but their default, as JSON values; secrets are left out.

    Raises :class:`InvalidOption` for an option that is no plain value, such as an open file: there is no telling later
    whether another is the same.
    """
    identity: dict[str, Any] = {}
    if config is None:
        return identity
    for name, value in config:
        field = type(config).model_fields.get(name)
        if field is not None and not field.is_required() and _same(value, field.get_default(call_default_factory=True)):
            continue
        identity |= _told(name, name, value)
    return identity


def _told(option: str, name: str, value: Any) -> dict[str, Any]:
    """One item of an identity, or none where it is a secret; ``option`` is the one that it belongs to."""
    if isinstance(value, (SecretStr, SecretBytes)) or (isinstance(value, (str, list, tuple, Mapping)) and _SECRET.search(name)):
        return {}
    plain = _plain(option, value)
    if isinstance(value, (str, list, tuple, Mapping)) and "://" not in str(value) and _DOUBTFUL.search(name):
        plain = f"#{blake2b(json.dumps(plain).encode(), digest_size=2).hexdigest()}"  # too short to guess a secret by
    return {name: plain}


def _same(value: Any, default: Any) -> bool:
    try:
        return bool(value == default)
    except Exception:  # arrays and the like compare to arrays
        return False


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _without_secrets(str(value)) if "://" in value else str(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        return identity_of(value)
    if isinstance(value, Mapping):
        return {key: item for one, inner in value.items() for key, item in _told(name, str(one), inner).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(name, item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    raise InvalidOption(
        f"A source whose option {name!r} is a {type(value).__name__} can't be kept in a catalog.",
        hint="Nobody could tell later which data it was. Load with catalog=False, or give the option as text.",
        option=name,
    )


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    items = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([pair for key, item in items for pair in _told(key, key, item).items()])
    return parts._replace(netloc=host, query=query).geturl()
