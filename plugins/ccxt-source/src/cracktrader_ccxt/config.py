"""The options of the ``ccxt`` source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from cracktrader.plugins import SourceConfig
from cracktrader_ccxt.hiding import plain, wrapped

__all__ = ["CcxtConfig", "MarketType"]

MarketType = Literal["spot", "margin", "swap", "future", "option"]
#: Parameters of requests that the pager says itself, or that make ccxt page by itself, which loses bars without a word.
_NOT_PARAMS: Final = ("paginate", "since", "limit", "until")
#: What ccxt calls its test networks in a config.
_SANDBOX: Final = ("sandbox", "testnet")
#: What ccxt calls credentials, by what others call them, in small letters and without anything between.
_CREDENTIALS: Final = {
    name.lower(): name
    for name in ("apiKey", "secret", "uid", "accountId", "login", "password", "twofa", "privateKey", "walletAddress", "token")
} | {"key": "apiKey", "secretkey": "secret", "apisecret": "secret", "passphrase": "password", "apipassword": "password"}

_Exchange = Annotated[str, Field(validation_alias=AliasChoices("exchange", "exchange_id"))]
_Type = Annotated[MarketType | None, Field(validation_alias=AliasChoices("market_type", "type"))]


class CcxtConfig(SourceConfig):
    """Which exchange, which of its markets, and how it is asked."""

    exchange: _Exchange = Field(description="The exchange's name in ccxt; `cracktrader sources ccxt --exchanges` lists them.")
    sandbox: bool = Field(default=False, description="The exchange's test network, where it has one.")
    market_type: _Type = Field(
        default=None, description="spot, swap, future, option: only markets of this type. None: told from the symbol."
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="What ccxt's constructor takes: enableRateLimit, rateLimit, urls, options, proxies, apiKey, secret, …",
    )
    api_key: SecretStr | None = Field(default=None, description="The same as apiKey in `config`.")
    secret: SecretStr | None = Field(default=None, description="The same as secret in `config`.")
    password: SecretStr | None = Field(default=None, description="The same as password in `config`.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters for every request of candles or trades: {'price': 'mark'}."
    )
    from_trades: bool = Field(default=False, description="Make the bars of trades, for exchanges that keep too few candles.")
    venue: str | None = Field(
        default=None,
        description="Your own name for where the data comes from: the catalog tells series apart by it instead of by the"
        " addresses in `config`. For a mirror, or a simulator whose port changes.",
    )
    # ── how it is asked ──
    batch_size: int | None = Field(default=None, ge=1, description="How many candles or trades one request is for, at most.")
    concurrency: int = Field(
        default=4, ge=1, le=64, description="How many pages are fetched side by side; the rate limit is kept all the same."
    )
    timeout: float = Field(default=30, gt=0, description="Seconds to wait for an answer.")
    retries: int = Field(default=5, ge=0, description="How often a request is tried again that failed in passing.")
    backoff: float = Field(default=0.5, ge=0, description="Seconds before the second try; twice as long before each further one.")
    budget: float = Field(default=120, gt=0, description="Seconds that one page may take, with all its tries and waits.")
    time_limit: float | None = Field(
        default=None, gt=0, description="Seconds that one load may fetch for; what came by then is kept in the catalog."
    )
    pace: float = Field(
        default=1.0, gt=0, le=100_000, description="How fast the exchange's clock runs: 1, but for a simulator that runs faster."
    )
    markets_ttl: float = Field(default=86_400, ge=0, description="Seconds for which the exchange's list of markets is kept.")

    @property
    def ccxt_config(self) -> dict[str, Any]:
        """What ccxt's constructor is given, secrets in the open."""
        own = {"apiKey": self.api_key, "secret": self.secret, "password": self.password}
        given = {"timeout": int(self.timeout * 1000)} | self.config
        return dict(plain(given | {name: value for name, value in own.items() if value is not None}))

    @model_validator(mode="before")
    @classmethod
    def _one_sandbox(cls, data: Any) -> Any:
        """What ccxt takes for ``sandbox`` in its config too, as our option: it is other data, and the catalog must know."""
        config = data.get("config") if isinstance(data, Mapping) else None
        if not isinstance(config, Mapping):
            return data
        options = config.get("options")
        told = [part for part in (config, options) if isinstance(part, Mapping) and any(name in part for name in _SANDBOX)]
        if not told:
            return data
        config = {name: value for name, value in config.items() if name not in _SANDBOX}
        if isinstance(options, Mapping):
            config["options"] = {name: value for name, value in options.items() if name not in _SANDBOX}
        meant = any(part.get(name) for part in told for name in _SANDBOX)
        return {**data, "config": config} | ({"sandbox": True} if meant else {})

    @property
    def ccxt_params(self) -> dict[str, Any]:
        """``params`` for ccxt, secrets in the open."""
        return dict(plain(self.params))

    @field_validator("exchange")
    @classmethod
    def _known_exchange(cls, value: str) -> str:
        from cracktrader_ccxt.listing import check_exchange

        return check_exchange(value)

    @field_validator("config")
    @classmethod
    def _hidden(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        for method, own in (value["options"] if isinstance(value.get("options"), Mapping) else {}).items():
            if isinstance(own, Mapping) and own.get("paginate"):
                raise ValueError(f"'paginate' of {method!r} can't be given: pages are this source's own business")
        for name in value:
            means = _CREDENTIALS.get(re.sub(r"[^a-z]", "", name.lower()), name)
            if means != name and means not in value:
                raise ValueError(f"{name!r} is nothing that ccxt reads: it calls it {means!r}")
        return wrapped(value)

    @field_validator("params")
    @classmethod
    def _not_the_pagers(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in _NOT_PARAMS:
            if name in value:
                raise ValueError(f"{name!r} can't be given: ranges and pages are this source's own business")
        return wrapped(value)
