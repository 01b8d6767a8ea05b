"""The cracktrader source of HTTP APIs: ``ct.load("http", url="https://…", symbol="BTC/USDT", timeframe="1h")``.

Importing this package imports no requests, no orjson and no Arrow; they come with the first fetch.
"""

from cracktrader_http.config import HttpConfig
from cracktrader_http.source import HttpSource

__all__ = ["HttpConfig", "HttpSource", "__version__"]

__version__ = "0.1.0"
