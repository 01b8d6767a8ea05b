"""Ways to show who is asking: the options, and what they do to a request."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cracktrader.errors import InvalidOption, PermanentSourceError
from cracktrader_http.templates import fill

if TYPE_CHECKING:
    from cracktrader_http.hiding import Secrets

__all__ = ["AUTH_KINDS", "Auth", "Basic", "Bearer", "Header", "OAuth2", "Query", "Signer", "TokenAsker", "plain"]

#: Asks an OAuth2 server, ``(url, form, user, password)``, and returns its answer parsed.
TokenAsker = Callable[[str, dict[str, str], str, str], Any]


class _Kind(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Bearer(_Kind):
    """``Authorization: Bearer API_KEY``."""

    kind: Literal["bearer"] = "bearer"


class Header(_Kind):
    """The key in a header of its own."""

    kind: Literal["header"] = "header"
    name: str = Field(description="The header that carries api_key.")
    prefix: str = Field(default="", description="What stands before the key.")


class Query(_Kind):
    """The key in the query."""

    kind: Literal["query"] = "query"
    name: str = Field(description="The parameter that carries api_key.")


class Basic(_Kind):
    """A user's name and password."""

    kind: Literal["basic"] = "basic"
    username: str
    password: SecretStr


class OAuth2(_Kind):
    """Client credentials: a token is fetched, used until it is about to expire, and fetched again."""

    kind: Literal["oauth2"] = "oauth2"
    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str | None = None


AUTH_KINDS: Final = ("bearer", "header", "query", "basic", "oauth2")
Auth = Annotated[Bearer | Header | Query | Basic | OAuth2, Field(discriminator="kind")]


def plain(secret: SecretStr) -> str:
    """The value of a secret, which may be ``{env:NAME}``."""
    return str(fill(secret, {}))


class Signer:
    """Puts credentials on requests to the API; a request that goes elsewhere is never given to it."""

    def __init__(self, auth: Any, api_key: str | None, secrets: Secrets, ask_token: TokenAsker) -> None:
        self._auth, self._api_key, self._secrets, self._ask_token = auth, api_key, secrets, ask_token
        self._lock = threading.Lock()
        self._token, self._until, self._proven = "", 0.0, False

    def sign(self, prepared: Any) -> Any:
        """``prepared``, a ``requests.PreparedRequest``, with credentials."""
        auth = self._auth
        if isinstance(auth, Header):
            prepared.headers[auth.name] = auth.prefix + self._key()
        elif isinstance(auth, Query):
            prepared.prepare_url(prepared.url, {auth.name: self._key()})
        elif isinstance(auth, Bearer):
            prepared.headers["Authorization"] = f"Bearer {self._key()}"
        elif isinstance(auth, Basic):
            pair = f"{auth.username}:{self._secrets.add(plain(auth.password))}".encode()
            prepared.headers["Authorization"] = f"Basic {self._secrets.add(base64.b64encode(pair).decode())}"
        elif isinstance(auth, OAuth2):
            prepared.headers["Authorization"] = f"Bearer {self._fresh_token(auth)}"
        elif auth is not None:
            prepared = auth(prepared)
        return prepared

    def accepted(self) -> None:
        """The server took what was signed: should it refuse the token later, then because it was withdrawn."""
        self._proven = True

    def renewed(self) -> bool:
        """Forget a token that was refused; whether another try makes sense, because it was good before."""
        with self._lock:
            worth_it, self._token, self._proven = bool(self._token) and self._proven, "", False
            return worth_it

    def _key(self) -> str:
        if self._api_key is None:
            raise InvalidOption("This API wants a key.", hint="Give it: api_key='…', or api_key='{env:NAME}'.", option="api_key")
        return self._api_key

    def _fresh_token(self, auth: OAuth2) -> str:
        with self._lock:
            if not self._token or time.monotonic() > self._until:
                form = {"grant_type": "client_credentials"} | ({"scope": auth.scope} if auth.scope else {})
                secret = self._secrets.add(plain(auth.client_secret))
                answer = self._ask_token(auth.token_url, form, auth.client_id, secret)
                token = answer.get("access_token") if isinstance(answer, dict) else None
                if not isinstance(token, str) or not token:
                    raise PermanentSourceError(
                        "The OAuth2 server answered without an access_token.", hint="Are token_url and scope right?"
                    )
                self._token = self._secrets.add(token)
                lifetime = answer.get("expires_in")
                lasts = float(lifetime) if isinstance(lifetime, (int, float, str)) and str(lifetime).isdigit() else 300.0
                self._until = time.monotonic() + max(lasts - 30, lasts / 2)
            return self._token
