"""What ccxt's constructors need so that unmodified clients talk to the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cracktrader.errors import InvalidOption

__all__ = ["EXCHANGES", "config"]

_BINANCE: Final = {
    "public": "/api/v3", "private": "/api/v3", "v1": "/api/v1",
    "fapiPublic": "/fapi/v1", "fapiPublicV2": "/fapi/v2", "fapiPublicV3": "/fapi/v3",
    "fapiPrivate": "/fapi/v1", "fapiPrivateV2": "/fapi/v2", "fapiPrivateV3": "/fapi/v3", "fapiData": "/futures/data",
    "dapiPublic": "/dapi/v1", "dapiPrivate": "/dapi/v1", "dapiPrivateV2": "/dapi/v2", "dapiData": "/futures/data",
    "eapiPublic": "/eapi/v1", "eapiPrivate": "/eapi/v1", "papi": "/papi/v1", "papiV2": "/papi/v2",
    "sapi": "/sapi/v1", "sapiV2": "/sapi/v2", "sapiV3": "/sapi/v3", "sapiV4": "/sapi/v4",
}  # fmt: skip

#: The exchanges that the simulator can be.
EXCHANGES: Final = ("binance", "binanceusdm", "kraken", "coinbaseexchange")


def config(exchange: str, url: str, symbols: Sequence[str]) -> dict[str, Any]:
    """The dict for the constructor of ``ccxt.<exchange>``."""
    if exchange not in EXCHANGES:
        raise InvalidOption(f"The simulator does not speak as {exchange!r}.", hint=f"It speaks as: {', '.join(EXCHANGES)}.")
    if exchange == "kraken":
        return {"urls": {"api": {"public": url, "private": url, "zendesk": f"{url}/zendesk"}}}
    if exchange == "coinbaseexchange":
        return {"urls": {"api": {"public": f"{url}/coinbase", "private": f"{url}/coinbase"}}}
    streams = "ws" + url.removeprefix("http")
    urls: dict[str, Any] = {name: url + path for name, path in _BINANCE.items()}
    # ccxt takes a stream for spot where "/stream" is in its URL
    urls["ws"] = {"spot": f"{streams}/stream/ws", "margin": f"{streams}/stream/ws", "linear": f"{streams}/fstream/ws"}
    futures = any(":" in symbol for symbol in symbols)
    types = ["spot", "linear"] if futures else ["spot"]
    if exchange == "binanceusdm":
        return {"urls": {"api": urls}, "options": {"fetchMarkets": {"types": ["linear"]}}}
    return {"urls": {"api": urls}, "options": {"fetchMarkets": {"types": types}, "defaultType": "spot"}}
