"""CCXTStore and CCXTDataFeed: an exchange and its feeds, the way that users of backtrader know stores and feeds."""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import cracktrader as ct
from cracktrader.catalog import take_catalog
from cracktrader.errors import InvalidOption, NotSupported
from cracktrader.feeds import CustomDataFeed

__all__ = ["CCXTDataFeed", "CCXTStore"]

#: How many bars a feed loads that is told neither a range nor how many.
_USUAL_BARS: Final = 1000
_DAY: Final = dt.timedelta(days=1)


class CCXTStore:
    """One exchange, shared by all feeds that are made of it.

    ::

        store = CCXTStore(exchange="binance")
        cerebro.adddata(CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", start_date="2024-01-01"))

    ``exchange`` (or ``exchange_id``) is its name in ccxt; ``sandbox`` its test network; ``config`` what ccxt's constructor
    takes, credentials and ``rateLimit`` too. Bars are kept in the usual catalog; ``cache_enabled=False`` turns that off,
    ``cache_path`` or ``storage_path`` names another folder, ``cache_ttl`` is how many seconds recent bars are believed.
    All other options are those of the source ``ccxt``. A store is no singleton: two exchanges are two stores.

    Raises :class:`InvalidOption`.
    """

    def __init__(
        self,
        exchange: str | None = None,
        *,
        exchange_id: str | None = None,
        sandbox: bool = False,
        config: Mapping[str, Any] | None = None,
        streaming: bool = False,
        **options: Any,
    ) -> None:
        name = exchange or exchange_id
        if name is None or exchange_id not in (None, name):
            raise InvalidOption(
                "A store needs the name of one exchange." if name is None
                else f"exchange={exchange!r} and exchange_id={exchange_id!r} name two exchanges for one store.",
                hint="Say it once: CCXTStore(exchange='binance').",
                option="exchange",
            )  # fmt: skip
        self.streaming = streaming
        self.catalog = take_catalog(options, options.pop("catalog", None))
        self._options = {
            "exchange": name,
            "sandbox": sandbox,
            "config": dict(config) if isinstance(config, Mapping) else config or {},
            **options,
        }
        self._forget()
        self._sources[None] = ct.source("ccxt", **self._options)  # a wrong option is told where the user wrote it

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._sources: dict[int | None, ct.Source] = {}
        self._notifications: deque[tuple[Any, tuple[Any, ...], dict[str, Any]]] = deque()

    @property
    def source(self) -> ct.Source:
        """The source that all feeds of this store load from."""
        return self.source_with()

    def source_with(self, batch_size: int | None = None) -> ct.Source:
        """The source, asking for so many candles at once; all of them share one ccxt object."""
        with self._lock:
            if batch_size not in self._sources:
                more = {} if batch_size is None else {"batch_size": batch_size}
                self._sources[batch_size] = ct.source("ccxt", **self._options | more)
            return self._sources[batch_size]

    @property
    def exchange(self) -> Any:
        """The ccxt object itself, made when it is first used: ``timeframes``, ``load_markets()``, ``markets`` and all else."""
        return self.source.plugin.desk.exchange  # type: ignore[attr-defined]

    def load(self, **request: Any) -> ct.Bars:
        """Bars of this exchange: :func:`cracktrader.load` with ``symbol``, ``timeframe``, ``start``, ``end`` and the like."""
        batch_size = request.pop("batch_size", None)
        return ct.load(self.source_with(batch_size), **{"catalog": self.catalog} | request)

    # ── what backtrader expects of a store ───────────────────────────────────────────────────────────

    def getdata(self, symbol: str | None = None, **options: Any) -> CCXTDataFeed:
        """A feed of this store."""
        return CCXTDataFeed(store=self, **({"symbol": symbol} if symbol else {}) | options)

    def getbroker(self, *_args: Any, **_options: Any) -> Any:
        """There is none: this store only has data."""
        raise NotSupported("CCXTStore has no broker: it only has data.", hint="Use backtrader's own: cerebro.broker.setcash(…).")

    def start(self, data: Any = None, broker: Any = None) -> None:
        """Told by backtrader at the beginning of a run."""

    def stop(self) -> None:
        """Told by backtrader at the end of a run; the store can be used again."""

    def put_notification(self, message: Any, *args: Any, **options: Any) -> None:
        """Leave a message for the strategies: ``notify_store(msg, *args, **kwargs)``."""
        self._notifications.append((message, args, options))

    def get_notifications(self) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
        """The messages since the last call."""
        found = []
        while self._notifications:
            found.append(self._notifications.popleft())
        return found

    def close(self) -> None:
        """Give back the connections; feeds that have their bars are not harmed."""
        with self._lock:
            for source in self._sources.values():
                source.close()

    def __enter__(self) -> CCXTStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CCXTStore {self._options['exchange']}{' (sandbox)' if self.source.config.sandbox else ''}>"

    # A store pickles as its options: backtrader hands feeds to the workers of an optimisation.
    def __getstate__(self) -> dict[str, Any]:
        return {"streaming": self.streaming, "catalog": self.catalog, "_options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


class MetaCCXTDataFeed(type(CustomDataFeed)):  # type: ignore[misc]
    """Makes a :class:`~cracktrader.feeds.LiveFeed` where ``live=True`` is said."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        if args or not options.pop("live", False):
            return super().__call__(*args, **options)
        if cls is not CCXTDataFeed:
            raise NotSupported(
                f"{cls.__name__} changes how bars are loaded, and can't go on live.", hint="Use CCXTDataFeed itself, or ct.feed."
            )
        return _live_feed(**options)


class CCXTDataFeed(CustomDataFeed, metaclass=MetaCCXTDataFeed):
    """Candles of an exchange as a backtrader feed.

    ``store`` is a :class:`CCXTStore`; ``symbol`` (or ``dataname``) a unified symbol; ``timeframe`` (or ``ccxt_timeframe``) how
    long a bar lasts, ``compression`` of how many such bars one is made. ``start_date`` and ``end_date`` are the range, end
    exclusive, or else ``fromdate`` and ``todate``; ``historical_limit`` is how many bars: the first where there is a start,
    else the last. Told none of these, the last 1000 bars are loaded. ``batch_size`` is how many candles one request is for,
    ``validation`` how they are checked. The bars are loaded when they are first needed; override ``_load_data`` to change the
    frame that came from the exchange before it is checked.

    With ``live=True`` the feed goes on where its history ends: it is a :class:`~cracktrader.feeds.LiveFeed`, takes the options of
    :class:`~cracktrader.live.LiveSettings` (``grace``, ``from_trades``, ``record``, …) too, and has trades, tickers and order
    books of the exchange as ``feed.streaming``. ``historical=False`` begins with the bar that forms now.

    Raises what :func:`cracktrader.load` raises, when the bars are loaded.
    """

    params: Any = (
        ("store", None),
        ("ccxt_timeframe", None),
        ("historical_limit", None),
        ("historical", True),
        ("live", False),
        ("batch_size", None),
    )

    def _settle_params(self) -> None:
        p = self.p
        _check_store(p.store)
        if not p.historical:
            raise InvalidOption(
                "historical=False without live=True leaves no bar at all.", hint="Leave it out.", option="historical"
            )
        p.symbol = _one_of("symbol", p.symbol, "dataname", p.dataname)
        p.timeframe = _one_of("timeframe", p.timeframe, "ccxt_timeframe", p.ccxt_timeframe)
        p.dataname = None
        super()._settle_params()

    def _get_bars(self) -> ct.Bars:
        if type(self)._load_data is not CCXTDataFeed._load_data:
            return super()._get_bars()
        base = ct.Timeframe(self.timeframe)
        times = self._target.shortest // base.shortest if self._target != base else 1
        return self._loaded(timeframe=self.timeframe, compression=times, validation=self.p.validation)

    def _load_data(self) -> Any:
        """The candles as the exchange sent them, unchecked: a frame indexed by time."""
        return self._loaded(timeframe=self.timeframe, validation="off").to_pandas().drop(columns="flags")

    def _loaded(self, **options: Any) -> ct.Bars:
        p = self.p
        start, end, limit = p.start_date, p.end_date, p.historical_limit
        # backtrader cuts at fromdate and todate itself, by the stamps and the zone that it shows: here with room to spare.
        if start is None and p.fromdate is not None:
            start = _moment(p.fromdate) - (_DAY if limit is None else _DAY * 0)
        if end is None and p.todate is not None:
            end = _moment(p.todate) + _DAY
        usual = start is None and limit is None
        wanted = {"symbol": self.symbol, "end": end, "batch_size": p.batch_size, **options}
        try:
            return p.store.load(start=start, limit=_USUAL_BARS if usual else limit, **wanted)  # type: ignore[no-any-return]
        except NotSupported as error:  # so many were not asked for: what the exchange keeps will do
            if not usual or "earliest" not in error.context:
                raise
            return p.store.load(start=error.context["earliest"], **wanted)  # type: ignore[no-any-return]


def _live_feed(
    *,
    store: Any = None,
    symbol: str | None = None,
    dataname: str | None = None,
    timeframe: str | None = None,
    ccxt_timeframe: str | None = None,
    start_date: Any = None,
    end_date: Any = None,
    historical: bool = True,
    historical_limit: int | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> Any:
    """The feed of a store's exchange that goes on; all other options are those of ``ct.feed(…, live=True)``."""
    _check_store(store)
    start, end = start_date, end_date
    if start is None and options.get("fromdate") is not None:
        start = _moment(options["fromdate"]) - _DAY
    if end is None and options.get("todate") is not None:
        end = _moment(options["todate"]) + _DAY
    options = {name: value for name, value in options.items() if value is not None}
    limit = (historical_limit or _usual_bars(store, options.get("compression", 1))) if historical else 0
    return ct.feed(
        store.source_with(batch_size), live=True, symbol=_one_of("symbol", symbol, "dataname", dataname),
        timeframe=_one_of("timeframe", timeframe, "ccxt_timeframe", ccxt_timeframe), start=start, end=end, limit=limit,
        **{"catalog": store.catalog} | options,
    )  # fmt: skip


def _usual_bars(store: CCXTStore, compression: int) -> int:
    """The last 1000 bars, or as many as the exchange keeps."""
    from cracktrader_ccxt.facts import FACTS, Facts

    depth = FACTS.get(str(store._options["exchange"]), Facts()).depth
    return _USUAL_BARS if depth is None else min(_USUAL_BARS, max(1, (depth - 1) // compression - 1))


def _check_store(store: Any) -> None:
    if not isinstance(store, CCXTStore):
        raise InvalidOption("A CCXTDataFeed needs a store.", hint="Say it: store=CCXTStore(exchange='binance').", option="store")


def _one_of(name: str, value: Any, other: str, also: Any) -> Any:
    if value is not None and also is not None and value != also:
        raise InvalidOption(f"{name}={value!r} and {other}={also!r} say different things.", hint="Give one of them.", option=name)
    return value if value is not None else also


def _moment(date: dt.date) -> dt.datetime:
    return date if isinstance(date, dt.datetime) else dt.datetime.combine(date, dt.time())
