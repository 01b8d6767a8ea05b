"""backtrader data feeds: of any source, of Bars, of a function that returns a frame.

The package can be called: ``ct.feeds("feeds.toml")`` is :func:`cracktrader.feeds.feeds`. A function and a package can't both
have the name, and both are in use.
"""

import sys
from types import ModuleType
from typing import Any

from cracktrader.feeds.base import Feed
from cracktrader.feeds.custom import CustomDataFeed
from cracktrader.feeds.declared import feeds
from cracktrader.feeds.live import LiveFeed
from cracktrader.feeds.making import feed
from cracktrader.feeds.stamps import Stamp, to_backtrader_dates

__all__ = ["CustomDataFeed", "Feed", "LiveFeed", "Stamp", "feed", "feeds", "to_backtrader_dates"]


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> dict[str, Feed]:
        return feeds(*args, **options)


_CallablePackage.__call__.__doc__ = feeds.__doc__
sys.modules[__name__].__class__ = _CallablePackage
