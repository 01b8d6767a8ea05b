"""The cracktrader source of the exchanges that ccxt knows: ``ct.load("ccxt", exchange="binance", symbol="BTC/USDT", …)``.

Importing this package imports no ccxt; it comes with the first fetch.
"""

from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.source import CcxtSource

__all__ = ["CcxtConfig", "CcxtSource", "__version__"]

__version__ = "0.1.0"
