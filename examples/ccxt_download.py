"""Several symbols of an exchange into a catalog, a failure half-way, and the rest on the second try."""

import tempfile
from pathlib import Path

import cracktrader as ct
from cracktrader_ccxt.simulator import Simulator, faults

folder = Path(tempfile.mkdtemp())
symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]

with Simulator(symbols, now="2024-06-01T00:00:30", start="2024-01-01", weight_limit=0) as exchange:
    # For the real exchange leave `config` out.
    config = exchange.config("binance", enableRateLimit=False)
    exchange.faults.add(faults.HtmlError(path="*/klines", symbol="SOL/USDT", skip=20, times=1))

    for attempt in (1, 2):
        with ct.source("ccxt", exchange="binance", config=config, retries=0) as source:
            requests = [{"symbol": symbol, "timeframe": "1m", "start": "2024-05-01", "end": "2024-06-01"} for symbol in symbols]
            exchange.requests.clear()
            for outcome in ct.load_many([{"source": source, **request} for request in requests], catalog=folder, progress=False):
                error = outcome.error
                print(outcome.bars if error is None else f"missing from {error.context['missing_start']}: {error.message[:80]}…")
            print(f"attempt {attempt}: {len(exchange.requests.of('*/klines'))} requests for candles")
