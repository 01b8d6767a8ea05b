"""The contract that every data source keeps, run for this one."""

from cracktrader.testing import SourceContract


class TestTickDemo(SourceContract):
    name = "tickdemo"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-05", "2024-01-07"
    other_symbol = "ETH/USDT"
    chunk_option = "chunk_size"
