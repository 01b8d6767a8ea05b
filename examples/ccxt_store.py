"""A store and three timeframes of one symbol in backtrader, as users of backtrader know it."""

import backtrader as bt

from cracktrader import CCXTDataFeed, CCXTStore, Cerebro
from cracktrader_ccxt.simulator import Simulator


class Trend(bt.Strategy):
    """Long while the hour and the day both rise."""

    def next(self):
        hour, _, day = self.datas
        rising = len(hour) > 24 and len(day) > 5 and hour.close[0] > hour.close[-24] and day.close[0] > day.close[-5]
        if rising and not self.position:
            self.buy()
        elif self.position and not rising:
            self.close()


with Simulator(["BTC/USDT"], now="2024-06-01T00:00:30", start="2024-01-01") as exchange:
    # For the real exchange: CCXTStore(exchange="binance").
    store = CCXTStore(exchange="binance", config=exchange.config("binance"), cache_enabled=False)
    cerebro = Cerebro()
    cerebro.addstore(store)
    for timeframe in ("1h", "4h", "1d"):
        cerebro.adddata(CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe=timeframe, start_date="2024-02-01"))
    cerebro.addstrategy(Trend)
    cerebro.broker.setcash(100_000)
    cerebro.run()
    for feed in cerebro.datas:
        print(feed.bars)
    print(f"{cerebro.broker.getvalue():,.2f} in the end")
    store.close()
