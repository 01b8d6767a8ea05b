"""The cracktrader source of SQL databases: ``ct.load("sql", url="sqlite:///crypto.db", table="ohlcv", …)``.

Importing this package imports neither SQLAlchemy nor any driver; they come with the first read.
"""

from cracktrader_sql.config import SqlConfig
from cracktrader_sql.source import SqlSource

__all__ = ["SqlConfig", "SqlSource", "__version__"]

__version__ = "0.1.0"
