"""The catalog by the names of the user guide: ``cache_enabled``, ``local_storage`` and their like."""

from __future__ import annotations

from typing import Any, Final

from cracktrader.catalog.catalog import Catalog
from cracktrader.errors import InvalidOption

__all__ = ["SETTINGS", "take_catalog"]

#: The options that :func:`take_catalog` takes.
SETTINGS: Final = ("cache_enabled", "cache_path", "cache_ttl", "local_storage", "storage_path", "storage_format")


def take_catalog(options: dict[str, Any], catalog: Any = None) -> Any:
    """Take the guide's options out of ``options``, and say them as a ``catalog=`` argument; ``catalog`` where there are none.

    ``cache_enabled`` and ``local_storage`` both turn the one catalog on, ``cache_path`` and ``storage_path`` say where it
    lies, ``cache_ttl`` is its ttl in seconds, and ``storage_format`` can only be ``"parquet"``.

    Raises :class:`InvalidOption`.
    """
    told = {name: options.pop(name) for name in SETTINGS if name in options}
    if not told:
        return catalog
    if (kind := told.get("storage_format", "parquet")) != "parquet":
        raise InvalidOption(
            f"storage_format={kind!r} is not what the catalog keeps bars in.",
            hint='It is always "parquet". Write other formats with bars.to_csv(…), or `cracktrader catalog export`.',
            option="storage_format",
        )
    places = {told[name] for name in ("cache_path", "storage_path") if told.get(name) is not None}
    if len(places) > 1:
        raise InvalidOption(
            f"cache_path={told['cache_path']!r} and storage_path={told['storage_path']!r} name two places for one catalog.",
            hint="What is kept is kept once: give one of them.",
            option="storage_path",
        )
    if catalog is not None and (places or "cache_enabled" in told or "local_storage" in told):
        raise InvalidOption(
            f"catalog= and {next(name for name in told if name != 'cache_ttl')}= say the same thing twice.",
            hint="Give one of them.",
        )
    switches = [bool(told[name]) for name in ("cache_enabled", "local_storage") if name in told]
    if switches and not any(switches):
        return False
    where = places.pop() if places else True if switches else catalog
    ttl = told.get("cache_ttl")
    if ttl is None or where is False:
        return where
    return Catalog.of(True if where is None else where, ttl=ttl)
