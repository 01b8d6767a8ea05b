"""A file with faults, loaded, checked and repaired."""

import tempfile
from pathlib import Path

import cracktrader as ct
from cracktrader.synthetic import Market, dirty

folder = Path(tempfile.mkdtemp())
clean = Market(seed=3).bars("BTC/USDT", "1m", "2024-01-01", "2024-01-08")
with_faults, faults = dirty(clean, seed=3)
with_faults.to_csv(folder / "btc.csv")

bars = ct.load("csv", path=folder / "btc.csv", symbol="BTC/USDT", timeframe="1m")
print(bars)
print(bars.report)
print("gaps:", bars.report["gap"].count, "bars missing,", sum((bars.flags & ct.Flag.FILLED) > 0), "filled")

bars.report.to_html(folder / "report.html")
print("report with charts:", folder / "report.html")

try:
    ct.load("csv", path=folder / "btc.csv", symbol="BTC/USDT", timeframe="1m", validation="strict")
except ct.CracktraderError as error:
    print(f"strict: {error.code} {error.message[:100]}…")
