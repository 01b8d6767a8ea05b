"""The options of the ``http`` source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from cracktrader.plugins import SourceConfig
from cracktrader.timeframe import Timeframe
from cracktrader.times import EpochUnit, parse_time, parse_zone
from cracktrader_http.auth import AUTH_KINDS, Auth, Bearer
from cracktrader_http.hiding import shown_url
from cracktrader_http.presets import preset_names, read_preset
from cracktrader_http.templates import TIMES, check_template, fields_of

__all__ = ["HOW_ONLY", "HttpConfig"]

#: What is asked of an address without any placeholder.
_USUAL_PARAMS: Final = {"symbol": "{symbol}", "timeframe": "{timeframe}", "start": "{start:iso}", "end": "{end:iso}"}
_INSTRUMENT: Final = "(symbol|pair|product|instrument|ticker|coin|asset)"
#: Options that only say how to fetch: the same bars come whatever they are.
HOW_ONLY: Final = frozenset({
    "api_key", "auth", "backoff", "budget", "ca_file", "concurrency", "connect_timeout", "empty", "keeps", "max_bytes",
    "max_pages", "page_size", "proxy", "rate", "read_timeout", "retries", "retry_error", "stream", "unknown_symbol",
    "window",
})  # fmt: skip
#: Options of a preset that are completed, not replaced, by what a user gives.
_MERGED: Final = ("params", "headers", "symbols", "timeframes", "columns")


def _known_auth(given: Any) -> Any:
    if given is None or callable(given) or isinstance(given, BaseModel):
        return given
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if kind in AUTH_KINDS:
        return given
    there_are = f"there are {', '.join(AUTH_KINDS)}, such as {{'kind': 'bearer'}}; or give a callable"
    raise ValueError(f"there is no kind {kind!r}; {there_are}" if kind else f"it has no kind; {there_are}")


_Auth = Annotated[
    Auth | Callable[[Any], Any] | None,
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]}),
    Field(union_mode="smart"),
    BeforeValidator(_known_auth),
]
_Url = Annotated[str, Field(validation_alias=AliasChoices("url", "api_url"), repr=False)]


def _checked_jmespath(value: str | None) -> str | None:
    if value is not None:
        import jmespath

        try:
            jmespath.compile(value)
        except jmespath.exceptions.JMESPathError as error:
            raise ValueError(f"it is no JMESPath: {str(error).splitlines()[0]}") from None
    return value


class StreamOptions(BaseModel):
    """How candles are heard of as they come; what is None is as for history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["poll", "long", "sse"] = Field(
        default="poll",
        description="poll: ask for bars again and again; long: ask what answers when there is news; sse: Server-Sent Events.",
    )
    url: str | None = Field(default=None, repr=False, description="The address of the stream, with placeholders.")
    params: dict[str, Any] | None = Field(default=None, repr=False, description="The query of the stream.")
    records: str | None = Field(default=None, description="A JMESPath to the rows of an answer or event: '[k]'.")
    columns: dict[str, str | int] | None = Field(default=None, description="Where columns are in those rows.")
    closed: str | None = Field(default=None, description="A JMESPath that is true where an event says that a bar is closed.")
    events: list[str] | None = Field(default=None, description="The names of the events that count; None: all.")
    seconds: float = Field(default=5, gt=0, description="Seconds from one question to the next, where none waits for news.")

    @field_validator("url", "params")
    @classmethod
    def _known_placeholders(cls, value: Any) -> Any:
        check_template(value)
        return value

    @field_validator("records", "closed")
    @classmethod
    def _jmespath(cls, value: str | None) -> str | None:
        return _checked_jmespath(value)


class HttpConfig(SourceConfig):
    """What to ask of an API, and how to read its answers."""

    preset: str | None = Field(
        default=None, description=f"A known API, whose options are then the defaults: {', '.join(preset_names())}."
    )
    url: _Url = Field(description="The address of the API; may hold {symbol}, {timeframe} and other placeholders.")
    api_key: SecretStr | None = Field(
        default=None, description="The key of your account; '{env:NAME}' takes it from the environment."
    )
    auth: _Auth = Field(
        default=None,
        repr=False,
        description="How to show the key: {'kind': 'bearer' | 'header' | 'query' | 'basic' | 'oauth2', …}, or a callable that"
        " signs a prepared request. None: bearer, where there is an api_key that no template uses.",
    )
    # ── asking ──
    method: Literal["GET", "POST"] | None = Field(default=None, description="None: POST where there is a body, else GET.")
    params: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="The query; what has no value in a request is left out."
    )
    headers: dict[str, str | SecretStr] = Field(default_factory=dict, repr=False, description="Headers besides the usual ones.")
    body: dict[str, Any] | list[Any] | None = Field(default=None, repr=False, description="The body, with placeholders.")
    body_format: Literal["json", "form"] = Field(default="json", description="How the body is written.")
    symbols: dict[str, str] = Field(default_factory=dict, description="Your symbols in the API's spelling.")
    symbol_format: str | None = Field(
        default=None,
        description="How the API spells the others: '{base}{quote}', '{base:lower}-{quote:lower}'. None: there are no others"
        " where `symbols` is given, else as they are.",
    )
    timeframes: dict[str, str] = Field(
        default_factory=dict, description="The timeframes that the API has, in its spelling; empty: any, as they are."
    )
    # ── reading ──
    format: Literal["json", "ndjson", "csv", "parquet"] | None = Field(
        default=None, description="How the answer is written; None: told from its type and first bytes."
    )
    records: str | None = Field(
        default=None, description="A JMESPath to the rows: 'data.candles'. None: the answer, or the only list in it."
    )
    columns: dict[str, str | int] = Field(
        default_factory=dict,
        description="Where columns are: time, open, high, low, close, volume or any other name to a key or a position. What is"
        " not said is told from the keys; rows without keys are time, open, high, low, close, volume.",
    )
    time_unit: EpochUnit | None = Field(default=None, description="The unit of epoch times; None: told from their magnitude.")
    time_format: str | None = Field(default=None, description="How times are written, as for strptime; None: ISO-8601.")
    tz: str = Field(default="UTC", description="The zone of times that have none of their own.")
    stamp: Literal["open", "close"] = Field(
        default="open", description="Whether bars are stamped with their opening or their end."
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="What stands between the columns of CSV.")
    error: str | None = Field(
        default=None, description="A JMESPath to what is wrong, in an answer with status 200: 'error[0]', 'code && msg'."
    )
    unknown_symbol: str = Field(
        default=rf"(?i)\b{_INSTRUMENT}\b.*\b(unknown|invalid|not found|not supported|not exist)"
        rf"|\b(unknown|invalid|no such|unsupported)\b\W*(\w+\W+)?{_INSTRUMENT}\b",
        description="A regular expression: what the API says of a symbol that it does not have.",
    )
    empty: str | None = Field(
        default=None, description="A regular expression: what the API says where it has no bars in a range, which is no error."
    )
    retry_error: str = Field(
        default=r"(?i)rate.?limit|too many|call frequency|try again|temporar|unavailable|overload|busy",
        description="A regular expression: what the API says where another try makes sense, in an answer with status 200.",
    )
    # ── pages ──
    pagination: Literal["none", "time", "page", "offset", "cursor", "next", "link"] | None = Field(
        default=None,
        description="How the API goes on where not everything fits into an answer; None: told from the placeholders.",
    )
    page_size: int = Field(default=1000, ge=1, description="The rows of a page: the value of {limit}.")
    window: int | None = Field(
        default=None,
        ge=1,
        description="How many bars one request may span at most, where the API refuses more; needs `earliest`.",
    )
    next: str | None = Field(
        default=None, description="A JMESPath to the next cursor or address, or whatever says that there is one."
    )
    stop: str | None = Field(default=None, description="A JMESPath that is true in the last page: '!has_more'.")
    first_page: int = Field(default=1, description="The number of the first page.")
    newest_first: bool | None = Field(
        default=None, description="Whether the API sends the latest bars first, where not all fit into a page; None: found out."
    )
    earliest: str | int | None = Field(default=None, description="A time before which the API has nothing.")
    keeps: int | None = Field(default=None, ge=1, description="How many of the latest bars the API keeps, where it has no more.")
    max_pages: int = Field(
        default=1_000_000, ge=1, description="The most pages of one request: a guard against APIs without end."
    )
    stream: StreamOptions = Field(
        default_factory=StreamOptions, description="How live candles are heard of: {'kind': 'poll' | 'long' | 'sse', …}."
    )
    # ── the network ──
    concurrency: int = Field(
        default=1,
        ge=1,
        le=64,
        description="How many pages are fetched side by side, where pagination is by time; the order is kept.",
    )
    rate: float | None = Field(
        default=None,
        gt=0,
        description="The most requests per second to the host, shared by all that this machine runs and that say a rate.",
    )
    retries: int = Field(default=5, ge=0, description="How often a request is tried again that failed in passing.")
    backoff: float = Field(default=0.5, ge=0, description="Seconds before the second try; twice as long before each further one.")
    budget: float = Field(default=120, gt=0, description="Seconds that one page may take, with all its tries and waits.")
    connect_timeout: float = Field(default=10, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(default=30, gt=0, description="Seconds to wait for the next bytes.")
    max_bytes: int = Field(default=256 << 20, ge=1, description="The most that one answer may unpack to, in bytes.")
    proxy: str | None = Field(default=None, repr=False, description="The URL of a proxy; None: that of the environment.")
    ca_file: Path | None = Field(default=None, description="Certificates to trust, a PEM file; None: those of the environment.")

    @property
    def signing(self) -> Any:
        """How requests are signed: ``auth``, or bearer for a key that no template uses."""
        if self.auth is None and self.api_key is not None and "api_key" not in self.placeholders:
            return Bearer()
        return self.auth

    @property
    def placeholders(self) -> set[str]:
        """The placeholders that a request may hold."""
        return fields_of([self.url, self.params, self.headers, self.body])

    @property
    def coarseness(self) -> int:
        """How far beyond a range an answer may go because times are asked for as dates, in milliseconds; 0 where they are not."""
        dated = re.search(r"\{(start|end|last|before):[^{}]*%", repr((self.url, self.params, self.body)))
        return 2 * 86_400_000 if dated else 0

    @property
    def paging(self) -> str:
        """The kind of pagination, told where it was not said."""
        if self.pagination is not None:
            return self.pagination
        used = self.placeholders
        for name in ("cursor", "page", "offset"):
            if name in used:
                return name
        return "next" if self.next else "time" if used & TIMES else "none"

    def __repr_args__(self) -> Any:
        yield from super().__repr_args__()
        yield "url", shown_url(self.url)

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        options = {"url" if name == "api_url" else name: value for name, value in given.items()}
        if isinstance(name := options.get("preset"), str):
            preset = read_preset(name)
            merged = {one: {**preset[one], **options[one]} for one in _MERGED
                      if isinstance(options.get(one), Mapping) and one in preset}  # fmt: skip
            options = preset | options | merged
        elif isinstance(url := options.get("url"), str) and not options.get("params") and not options.get("body"):
            options.setdefault("params", {} if fields_of(url) else _USUAL_PARAMS)
        return options

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port is not None and not parts.port):
            raise ValueError("it must begin with https:// or http:// and name a host")
        if fields_of(parts.netloc):
            raise ValueError("the host can't hold placeholders")
        return value

    @field_validator("url", "params", "headers", "body", "symbol_format")
    @classmethod
    def _known_placeholders(cls, value: Any) -> Any:
        check_template(value)
        return value

    @field_validator("records", "error", "next", "stop")
    @classmethod
    def _jmespath(cls, value: str | None) -> str | None:
        return _checked_jmespath(value)

    @field_validator("unknown_symbol", "retry_error", "empty")
    @classmethod
    def _regular_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from None
        return value

    @field_validator("timeframes")
    @classmethod
    def _timeframes(cls, value: dict[str, str]) -> dict[str, str]:
        return {str(Timeframe(name)): spelling for name, spelling in value.items()}

    @field_validator("tz")
    @classmethod
    def _zone(cls, value: str) -> str:
        parse_zone(value)
        return value

    @field_validator("earliest")
    @classmethod
    def _time(cls, value: str | int | None) -> str | int | None:
        if value is not None:
            parse_time(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> HttpConfig:
        kind, used = self.paging, self.placeholders
        if kind in ("cursor", "page", "offset") and kind not in used:
            raise ValueError(f"pagination={kind!r} needs {{{kind}}} in the address, params or body")
        if kind == "time" and not used & TIMES:
            raise ValueError("pagination='time' needs {start} or {end} in the address, params or body")
        if kind in ("cursor", "next") and self.next is None:
            raise ValueError(f"pagination={kind!r} needs `next`: a JMESPath to the next one in the answer")
        if self.window is not None and self.earliest is None:
            raise ValueError("`window` needs `earliest`: otherwise nobody knows where a request without a start begins")
        if self.concurrency > 1 and kind != "time":
            raise ValueError(f"pages can be fetched side by side only where pagination is by time, and here it is {kind!r}")
        if self.body is not None and self.method == "GET":
            raise ValueError("a GET request has no body: leave out `method`, or say POST")
        return self
