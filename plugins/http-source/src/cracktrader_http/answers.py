"""Reading one answer: what the API says is wrong, the rows, the way to the next page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urljoin

import numpy as np

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import CracktraderError, MalformedData, PermanentSourceError, UnknownSymbol
from cracktrader.request import BarRequest
from cracktrader_http.bodies import columns_of, format_of, parse_csv, parse_json, parse_ndjson, parse_parquet, rows_in
from cracktrader_http.columns import numbers, times
from cracktrader_http.config import HttpConfig
from cracktrader_http.paths import has_keys, search
from cracktrader_http.retrying import Again
from cracktrader_http.transport import Transport
from cracktrader_http.validators import Answer

__all__ = ["Page", "Reader"]

#: Keys under which APIs say what is wrong.
_COMPLAINTS: Final = re.compile(r"(?i)err|message|msg|reason|detail|note|info")
#: Keys under which APIs say that there is another page.
_MORE: Final = re.compile(
    r"(?i)(has_?)?(more|next)(_?(page|url|uri|link|cursor|offset|token|page_?token))?|next_\w+|nxt|\w*continuation_?token"
)


@dataclass(frozen=True, slots=True)
class Page:
    """The bars of one answer, oldest first and not yet cut to a range; how many rows it had; what leads to the next page.

    ``lacking`` are those of the options `next` and `stop` whose keys it does not have; ``more`` is where it says that there is
    another page, in words that no option names.
    """

    bars: Bars
    rows: int
    next: Any = None
    last: bool = False
    lacking: frozenset[str] = frozenset()
    more: str = ""


class Reader:
    """Reads the answers to one request."""

    def __init__(self, config: HttpConfig, transport: Transport, request: BarRequest) -> None:
        self._config, self._transport, self._request = config, transport, request
        self._provenance: dict[str, Any] = {"api": transport.secrets.hide_url(config.url).partition("?")[0]}
        notes = []
        if config.keeps is not None and request.start is None:
            notes.append(f"The API keeps the last {config.keeps} bars; there may have been earlier ones.")
        if config.paging == "page" and "first_page" not in config.model_fields_set:
            notes.append(
                "Pages were counted from 1, because nobody said it. If the API counts from 0, one is missing: first_page=0."
            )
        if notes:
            self._provenance["notes"] = notes

    def read(self, answer: Answer) -> Page:
        """The page in an answer; raises :class:`Again` where the API says that it failed in passing."""
        if answer.status == 204:
            return Page(self._bars({}), 0, last=True)
        if answer.status == 206:
            raise PermanentSourceError(
                f"{answer.told} sends but a part of it ({answer.headers.get('content-range', 'it does not say which')}).",
                hint="Does the API want the pages asked for in another way? See `pagination`.",
                status=206,
            )
        if not 200 <= answer.status < 300:
            if self._says_empty(answer.body[:5000].decode("utf-8", errors="replace")):
                return Page(self._bars({}), 0, last=True)
            raise self._refusal(answer)
        try:
            return self._page(answer)
        except MalformedData as error:
            hide, said = self._transport.secrets.hide, self._without_secrets(answer, error)
            raise MalformedData(
                f"{hide(said.message).rstrip('.')}. {answer.told} begins with {self._transport.excerpt(answer)}.",
                hint=hide(said.hint),
                **{name: hide(value) if isinstance(value, str) else value for name, value in said.context.items()},
                url=self._transport.secrets.hide_url(answer.url),
                status=answer.status,
            ) from None

    def _without_secrets(self, answer: Answer, error: MalformedData) -> MalformedData:
        """The same error of the answer without our secrets: what it quotes may be escaped or cut, and then no more be told."""
        text = answer.body.decode("utf-8", "surrogateescape")
        if self._transport.secrets.are_in(text):
            try:
                self._page(replace(answer, body=self._transport.secrets.hide(text).encode("utf-8", "surrogateescape")))
            except MalformedData as same:
                return same
        return error

    def event(self, data: bytes, closed: str | None) -> tuple[Bars, bool]:
        """The bars of one event of a stream, and whether the JMESPath ``closed`` is true of it."""
        answer = Answer("An event of the stream was heard, and", self._config.url, 200, {}, data, heard=True)
        bars = self.read(answer).bars
        try:
            return bars, closed is not None and bool(search(closed, parse_json(data)))
        except MalformedData as error:
            raise MalformedData(self._transport.secrets.hide(error.message), hint=error.hint) from None

    def _page(self, answer: Answer) -> Page:
        config = self._config
        kind = config.format or format_of(answer.headers.get("content-type", ""), answer.body)
        body: Any = None
        if kind == "csv":
            _refuse_cut_csv(answer)
            columns = columns_of(parse_csv(answer.body, config.delimiter, config.columns), config.columns)
        elif kind == "parquet":
            columns = columns_of(parse_parquet(answer.body, config.max_bytes), config.columns)
        else:
            body = parse_ndjson(answer.body) if kind == "ndjson" else parse_json(answer.body)
            if self._says_empty(said := self._complaint(body)):
                return Page(self._bars({}), 0, last=True)
            self._refuse(answer, said)
            columns = columns_of(self._rows(answer, body), config.columns)
        bars = self._bars(columns)
        following = answer.next_link and urljoin(answer.url, answer.next_link)
        if config.next is not None and body is not None:
            following = search(config.next, body)
        last = config.stop is not None and bool(search(config.stop, body))
        paths = {"next": config.next, "stop": config.stop}
        lacking = frozenset(name for name, path in paths.items() if path is not None and not has_keys(path, body))
        return Page(bars, len(bars), following, last, lacking, _says_more(answer, body))

    def _rows(self, answer: Answer, body: Any) -> Any:
        """The rows of an answer. That there are none it must say itself: an empty list, or what `empty` matches."""
        path, problem, rows = self._config.records, None, None
        try:
            rows = rows_in(body) if path is None else search(path, body)
        except MalformedData as error:
            problem = error
        if (rows is None or isinstance(rows, str)) and (body or problem) and not answer.heard:
            text = answer.body[:5000].decode("utf-8", errors="replace")
            if self._says_empty(text):
                return []
            self._refuse(answer, text, only_known=True)
            if rows is None:
                raise problem or _no_rows(path, body)
        if problem is not None:
            raise problem
        if not rows and isinstance(body, Mapping) and self._config.error is None:
            self._refuse(
                answer, " ".join(str(said) for key, said in body.items() if said and _COMPLAINTS.search(key)), only_known=True
            )
        return rows

    def _bars(self, columns: Mapping[str, Any]) -> Bars:
        symbol, frame = self._request.symbol, self._request.timeframe
        extra = [name for name in self._config.columns if name not in ("time", *PRICES, "volume")]
        if not columns:
            return Bars.empty(symbol, frame, extra={name: [] for name in extra})
        config = self._config
        time = times(columns["time"], unit=config.time_unit, time_format=config.time_format, tz=config.tz)
        if config.stamp == "close":
            time = frame.floor(time - 1)
        provenance = dict(self._provenance)
        if "volume" not in columns:
            provenance["volume"] = "the source has none; 0 stands in its place"
        open, high, low, close = (numbers(name, columns[name]) for name in PRICES)
        volume = numbers("volume", columns["volume"]) if "volume" in columns else np.zeros(len(time))
        bars = Bars(
            time, open, high, low, close, volume, extra={name: numbers(name, columns[name]) for name in extra},
            symbol=symbol, timeframe=frame, provenance=provenance,
        )  # fmt: skip
        return bars.in_order()

    # ── what the API says is wrong ───────────────────────────────────────────────────────────────────

    def _complaint(self, body: Any) -> str:
        """What an answer with status 200 says is wrong; empty where nothing is."""
        said = None if self._config.error is None else search(self._config.error, body)
        return str(said) if said else ""

    def _says_empty(self, text: str) -> bool:
        return bool(text and self._config.empty and re.search(self._config.empty, text))

    def _refuse(self, answer: Answer, text: str, only_known: bool = False) -> None:
        """Raise what an answer with status 200 says is wrong; ``only_known`` where it need not be that anything is."""
        if not text:
            return
        if unknown := self._unknown_symbol(text, answer):
            raise unknown
        passing = re.search(self._config.retry_error, text)
        text = self._transport.secrets.hide(text)[:300]
        if passing:
            raise Again(f"it answered {answer.status}, and says: {text!r}")
        if only_known:
            return
        raise PermanentSourceError(
            f"{answer.told} says: {text!r}.", hint="Look the message up in the documentation of the API.", status=answer.status
        )

    def _refusal(self, answer: Answer) -> CracktraderError:
        text = answer.body[:5000].decode("utf-8", errors="replace")
        return self._unknown_symbol(text, answer) or self._transport.refused(answer)

    def _unknown_symbol(self, text: str, answer: Answer) -> UnknownSymbol | None:
        symbol = self._request.symbol
        if not symbol or not re.search(self._config.unknown_symbol, text):
            return None
        return UnknownSymbol(
            f"The API does not know the symbol {symbol!r}. {answer.told} says: {self._transport.secrets.hide(text)[:200]!r}.",
            hint="Is it spelled right? The options `symbols` and `symbol_format` say how the API spells it.",
            symbol=symbol,
        )


def _no_rows(path: str | None, body: Any) -> MalformedData:
    found = f"keys {', '.join(map(repr, list(body)[:10]))}" if isinstance(body, Mapping) else f"{type(body).__name__} in it"
    return MalformedData(
        f"records={path!r} leads to nothing in an answer with {found}",
        hint="Is it spelled right? If the API leaves the rows out where it has none, say how that is told: empty='…', a regular"
        f" expression, or records={f'{path} || `[]`'!r}. What it says of errors: error='…'.",
    )


def _refuse_cut_csv(answer: Answer) -> None:
    """Raise :class:`Again` where it can't be told whether the last number is whole: 1234 of 12345."""
    delimited = not {"content-length", "transfer-encoding"}.isdisjoint(answer.headers) or answer.heard
    if not delimited and answer.body.strip() and not answer.body.endswith((b"\n", b"\r")):
        raise Again(
            "the CSV ends in the middle of a line, and nothing says how long it should be",
            hint="It was cut off, or the server must end the last line or send a Content-Length.",
        )


def _says_more(answer: Answer, body: Any) -> str:
    """Where an answer says that there is another page, as most APIs would say it; empty where it does not."""
    if answer.next_link:
        return 'Link: rel="next"'
    parts = [body, *body.values()] if isinstance(body, Mapping) else []
    for part in parts:
        if isinstance(part, Mapping):
            for key, value in part.items():
                if (
                    value not in (None, False, "", 0, "0", "null")
                    and _MORE.fullmatch(key)
                    and not isinstance(value, (list, Mapping))
                ):
                    return f"{key!r}"
    return ""
