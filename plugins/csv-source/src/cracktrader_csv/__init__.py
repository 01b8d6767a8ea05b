"""The cracktrader source of CSV files: ``ct.load("csv", path="btc.csv", timeframe="1h")``.

Importing this package imports no Arrow, no pandas and no fsspec; they come with the first read.
"""

from cracktrader_csv.config import CsvConfig
from cracktrader_csv.source import CsvSource

__all__ = ["CsvConfig", "CsvSource", "__version__"]

__version__ = "0.1.0"
