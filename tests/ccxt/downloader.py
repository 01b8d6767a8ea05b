"""A process that forks downloads to be killed: it reads ``ROOT CONFIG`` per line, and answers with the child and how it ended.

What came is written every 3,000 rows, so that there is something to lose.
"""

import json
import os
import sys

import pyarrow.parquet  # noqa: F401
import requests  # noqa: F401

import ccxt  # noqa: F401 - here and below, so that no child has to
import cracktrader as ct
import cracktrader_ccxt.fetching
import cracktrader_ccxt.trading  # noqa: F401
from cracktrader.catalog import answering

REQUEST = {"symbol": "BTC/USDT", "timeframe": "1m", "start": "2024-01-01", "end": "2024-02-01"}


def download(root: str, config: dict) -> ct.Bars:
    """A month of minutes into a catalog."""
    return ct.load("ccxt", exchange="binance", config=config, catalog=root, validation="off", **REQUEST)


def main() -> None:
    """Follow orders until there are none."""
    answering._FLUSH_ROWS = 3_000
    for order in sys.stdin:
        root, config = order.split(" ", 1)
        if (child := os.fork()) == 0:
            try:
                download(root, json.loads(config))
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
