"""One symbol in two timeframes: trade by the quarter of an hour, with the trend of four hours."""

import backtrader as bt

import cracktrader as ct
from cracktrader.synthetic import Market


class WithTheTrend(bt.Strategy):
    """Buys a dip in an uptrend."""

    def __init__(self):
        self.trend = bt.indicators.SMA(self.datas[1].close, period=10)
        self.dip = bt.indicators.RSI(self.datas[0].close, period=14)

    def next(self):
        uptrend = self.datas[1].close[0] > self.trend[0]
        if not self.position and uptrend and self.dip < 30:
            self.buy()
        elif self.position and (not uptrend or self.dip > 65):
            self.close()


minutes = Market(seed=11).bars("ETH/USDT", "1m", "2024-01-01", "2024-03-01")

cerebro = ct.Cerebro()
cerebro.adddata(ct.feed(minutes, compression=15), name="15m")
cerebro.adddata(ct.feed(minutes, compression=240), name="4h")
cerebro.addstrategy(WithTheTrend)
cerebro.addsizer(bt.sizers.PercentSizer, percents=90)
cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
strategy = cerebro.run()[0]

print(f"{len(strategy.datas[0])} quarters of an hour, {len(strategy.datas[1])} four-hour bars")
print(f"trades closed: {strategy.analyzers.trades.get_analysis().get('total', {}).get('closed', 0)}")
print(f"value: {cerebro.broker.getvalue():,.2f}")
