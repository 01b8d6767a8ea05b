"""A source of a dozen lines, used without any package: what a plugin is, before it becomes one."""

import numpy as np

import cracktrader as ct


class Waves(ct.DataSource):
    """Prices that go up and down like the tide."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        """What the waves are like."""

        height: float = 5.0
        hours: float = 12.0

    @ct.hookimpl
    def fetch_bars(self, request):
        start = request.start if request.start is not None else 1_704_067_200_000
        time = request.timeframe.openings(start, request.end if request.end is not None else start + 30 * 86_400_000)
        price = 100 + self.config.height * np.sin(2 * np.pi * time / (self.config.hours * 3_600_000))
        opening = np.append(price[:1], price[:-1])
        high, low = np.maximum(opening, price), np.minimum(opening, price)
        yield ct.Bars(time, opening, high, low, price, np.ones(len(time)), symbol=request.symbol, timeframe=request.timeframe)


bars = ct.load(Waves, height=8, symbol="TIDE", timeframe="15m", start="2024-01-01", end="2024-01-03")
print(bars)
print(bars.report)
print(ct.feed(Waves(height=2), symbol="TIDE", timeframe="1h", limit=5).bars.to_pandas())

try:
    ct.load(Waves, hight=8, symbol="TIDE", timeframe="15m")
except ct.CracktraderError as error:
    print(error)
