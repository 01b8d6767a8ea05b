"""A synthetic market: realistic bars and trades from a seed, and faults to put into them.

>>> from cracktrader.synthetic import Market, dirty
>>> bars, faults = dirty(Market(seed=1).bars("BTC/USDT", "1m", "2024-05-01", "2024-05-04"), seed=1)
>>> sorted({fault.check for fault in faults})[:4]
['duplicate_time', 'extreme_move', 'flatline', 'gap']
"""

from cracktrader.synthetic.candles import Candles, aggregated
from cracktrader.synthetic.faults import FAULTS, Fault, dirty
from cracktrader.synthetic.listing import LISTINGS, Listing
from cracktrader.synthetic.market import Market
from cracktrader.synthetic.trades import Trades

__all__ = ["FAULTS", "LISTINGS", "Candles", "Fault", "Listing", "Market", "Trades", "aggregated", "dirty"]
