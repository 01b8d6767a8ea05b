"""Four symbols loaded side by side: as bars, and as feeds declared by name, each in two timeframes."""

import tempfile
from pathlib import Path

import cracktrader as ct
from cracktrader.synthetic import Market

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT"]

folder = Path(tempfile.mkdtemp())
for symbol in SYMBOLS:
    Market(seed=3).bars(symbol, "1h", "2024-01-01", "2024-03-01").to_csv(folder / f"{symbol[:3]}.csv")

# Bars of all four at once; one that fails is an outcome with an error, and loses no other.
requests = [{"path": folder / f"{symbol[:3]}.csv", "symbol": symbol} for symbol in [*SYMBOLS, "XRP/USDT"]]
for outcome in ct.load_many(requests, source="csv", timeframe="1h", start="2024-01-01", end="2024-03-01", max_workers=4):
    print(f"{outcome.label}: {len(outcome.bars):,} bars" if outcome.ok else f"{outcome.label}: {outcome.error}")

# The same as feeds; a TOML file of this shape does as well.
cerebro = ct.Cerebro()
cerebro.addfeeds(
    {
        "defaults": {"source": "csv", "timeframes": ["1h", "1d"]},
        "feeds": {symbol[:3]: {"path": str(folder / f"{symbol[:3]}.csv"), "symbol": symbol} for symbol in SYMBOLS},
    }
)
strategy = cerebro.run()[0]
for data in strategy.datas:
    print(f"{data._name}: {len(data)} bars")
