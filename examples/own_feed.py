"""A feed class for people who only have a function that returns a frame."""

import sqlite3

import pandas as pd

import cracktrader as ct
from cracktrader.synthetic import Market


class DatabaseFeed(ct.CustomDataFeed):
    """Bars of one symbol of a table."""

    params = (("connection", None), ("table", "ohlcv"))

    def _load_data(self):
        query = f"SELECT timestamp, open, high, low, close, volume FROM {self.p.table} WHERE symbol = ? ORDER BY timestamp"
        frame = pd.read_sql_query(query, self.p.connection, params=(self.symbol,))
        return frame.set_index(pd.to_datetime(frame.pop("timestamp"), unit="ms"))


connection = sqlite3.connect(":memory:")
hours = Market(seed=5).bars("BTC/USDT", "1h", "2024-01-01", "2024-02-01")
table = hours.to_pandas().drop(columns="flags").assign(symbol="BTC/USDT", timestamp=hours.time)
table.to_sql("ohlcv", connection, index=False)

feed = DatabaseFeed(connection=connection, symbol="BTC/USDT", timeframe="1h", start_date="2024-01-15")
cerebro = ct.Cerebro()
cerebro.adddata(feed)
cerebro.run()
print(feed.bars)
print(feed.report)
connection.close()
