"""Sending one request: session, credentials, redirects, limits of size and time, tries."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from pydantic import SecretStr

from cracktrader.errors import (
    CracktraderError,
    InvalidOption,
    MalformedData,
    PermanentSourceError,
    SourceNotFound,
)
from cracktrader.plugins.hosts import HostBudget, http_date, retry_after
from cracktrader.times import now_ms
from cracktrader_http.auth import OAuth2, Signer, plain
from cracktrader_http.config import HttpConfig
from cracktrader_http.hangup import Adapter
from cracktrader_http.hiding import Secrets
from cracktrader_http.retrying import Again, Patience
from cracktrader_http.templates import fill, from_environment
from cracktrader_http.validators import Answer, KnownAnswers

__all__ = ["Transport", "Wanted"]

Result = TypeVar("Result")
#: Reads the body of a response: told what was asked, and within which time.
Take = Callable[[requests.Response, str, "Patience"], bytes]
_IN_PASSING: Final = frozenset({408, 418, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_PACKINGS: Final = frozenset({"br", "zstd", "compress", "lzma", "xz", "bzip2"})
_BLOCK: Final = 1 << 18
_BASIC_HEADERS: Final = {
    "User-Agent": "cracktrader-http",
    "Accept-Encoding": requests.utils.DEFAULT_ACCEPT_ENCODING,
    "Accept": "*/*",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to be sent; ``body`` is JSON or, with ``form``, a form."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    form: bool = False


class Transport:
    """What one source sends its requests through; threads may share it."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._environment: dict[str, dict[str, Any]] = {}
        self._homes = {_origin(config.url), _origin(config.stream.url or config.url)}
        self._known = KnownAnswers()
        self._skew: int | None = None
        self.secrets = Secrets()
        self.api_key = None if config.api_key is None else self.secrets.add(plain(config.api_key))
        self._learn_secrets(config)
        self._signer = Signer(config.signing, self.api_key, self.secrets, self._ask_token)

    def _learn_secrets(self, config: HttpConfig) -> None:
        for given in (config.headers, config.params, config.body, config.stream.params):
            self.secrets.add_named(fill(given, {}))
            for secret in _secret_values(given):
                self.secrets.add(plain(secret))
        for name in _environment_names(
            [config.url, config.params, config.headers, config.body, config.stream.url, config.stream.params]
        ):
            self.secrets.add(from_environment(name))
        for address in filter(None, (config.url, config.stream.url, config.proxy)):
            if password := urlsplit(address).password:
                self.secrets.add(password)

    def clock(self) -> int:
        """The server's clock by its latest answer; this machine's where none came yet, or both agree within two seconds."""
        return now_ms() + (self._skew or 0)

    def ask(self, wanted: Wanted, read: Callable[[Answer], Result], stopped: threading.Event) -> Result:
        """What ``read`` makes of the answer. Either may raise :class:`Again`: the request is then tried once more."""
        patience = self._patience(stopped)
        address = self.secrets.hide_url(wanted.url)
        return patience.keep_trying(
            lambda: read(self._checked(self._answer(wanted, patience))), lambda what: f"{wanted.method} {address}: {what}"
        )

    def listen(self, wanted: Wanted, hear: Callable[[Iterator[bytes]], None], stopped: threading.Event) -> None:
        """Hand the lines of an answer without end to ``hear``, until it ends; that it broke off is no error."""

        def take(response: requests.Response, told: str, patience: Patience) -> bytes:
            if response.status_code != 200:
                return self._body(response, told, patience)
            if "text/event-stream" not in (kind := response.headers.get("Content-Type", "")):
                raise MalformedData(
                    f"{told} sends {kind or 'something'}, not events.", hint="Is the address of the stream right?"
                )
            hear(self._lines(response, told))
            return b""

        patience = self._patience(stopped)
        address = self.secrets.hide_url(wanted.url)
        answer = patience.keep_trying(
            lambda: self._checked(self._answer(wanted, patience, take)), lambda what: f"{wanted.method} {address}: {what}"
        )
        if answer.status != 200:  # 204, too: do not come again
            raise self.refused(answer)

    def close(self) -> None:
        """Give back the connections."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _patience(self, stopped: threading.Event) -> Patience:
        options = self._config
        return Patience(retries=options.retries, backoff=options.backoff, budget=options.budget, stopped=stopped)

    # ── one try ──────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, wanted: Wanted, patience: Patience, take: Take | None = None) -> Answer:
        """The answer to a request, after whatever redirects; ``take`` reads its body."""
        url, method, at_home = wanted.url, wanted.method, _origin(wanted.url) in self._homes
        params: Mapping[str, Any] = wanted.params
        for _ in range(_MOST_REDIRECTS + 1):
            body = wanted.body if method != "GET" else None
            # Elsewhere, a server learns nothing of us: no key, no header of the user's.
            headers = {**_BASIC_HEADERS, **(wanted.headers if at_home else {})}
            request = requests.Request(
                method,
                url,
                headers=headers,
                params=dict(params),
                data=body if wanted.form else None,
                json=None if wanted.form else body,
            )
            prepared = self._prepared(request)
            if at_home:
                prepared = self._signer.sign(prepared)
            answer, location = self._send(prepared, patience, take)
            if location is None:
                if at_home and answer.status < 400:
                    self._signer.accepted()
                return answer
            url = urljoin(str(prepared.url), location)
            params = {}
            method = "GET" if answer.status == 303 or (answer.status in (301, 302) and method == "POST") else method
            at_home = self._may_follow(str(prepared.url), url, answer, leaves_body=method != "GET") and at_home
        raise PermanentSourceError(
            f"{answer.told} redirects more than {_MOST_REDIRECTS} times.", hint="Is the address right? Ask for it in a browser."
        )

    def _may_follow(self, from_url: str, to_url: str, answer: Answer, *, leaves_body: bool) -> bool:
        """Whether a redirect stays on its host; raises where it must not be followed at all."""
        stays = _origin(from_url) == _origin(to_url)
        shown = self.secrets.hide_url(to_url)
        reason = ""
        if urlsplit(to_url).scheme not in ("http", "https"):
            reason = "which is no address of the web"
        elif urlsplit(from_url).scheme == "https" and urlsplit(to_url).scheme == "http":
            reason = "which is not encrypted"
        elif not stays and leaves_body:
            reason = "another host, which would learn what is in the body"
        elif not stays and self.secrets.are_in(to_url):
            reason = "another host, with a secret in the address"
        if reason:
            raise PermanentSourceError(
                f"{answer.told} redirects to {shown}, {reason}. It was not followed.", hint="If that is right, make it the `url`."
            )
        return stays

    def _prepared(self, request: requests.Request) -> requests.PreparedRequest:
        try:
            prepared = request.prepare()  # not the session's way, which would add what ~/.netrc holds
        except (requests.exceptions.RequestException, ValueError) as error:
            raise InvalidOption(
                f"This is no request that can be sent: {self.secrets.hide(str(error))}.", hint="Look at url, params and headers."
            ) from None
        return prepared

    def _send(
        self, prepared: requests.PreparedRequest, patience: Patience, take: Take | None = None
    ) -> tuple[Answer, str | None]:
        """One exchange with the server; where it redirects, the address it redirects to."""
        options, url = self._config, str(prepared.url)
        told = f"{prepared.method} {self.secrets.hide_url(url)}"
        host = HostBudget.of(urlsplit(url).netloc.rpartition("@")[2])
        wait = host.turn(1 / options.rate) if options.rate else host.stopped()
        if wait >= patience.left:
            raise Again("the queue for this host is too long", wait=wait)
        patience.sleep(wait)
        conditional = prepared.method == "GET" and take is None
        asked = url, tuple(prepared.headers.items())
        if conditional:
            prepared.headers.update(self._known.conditions(asked))
        timeouts = (min(options.connect_timeout, max(0.01, patience.left)), min(options.read_timeout, max(0.01, patience.left)))
        try:
            with (
                self.secrets.kept_from_logs(),
                self._opened().send(
                    prepared, stream=True, allow_redirects=False, timeout=timeouts, **self._surroundings(url)
                ) as response,
            ):
                if "Age" not in response.headers:  # else the time is that of a cache's copy
                    self._note_clock(response.headers.get("Date"))
                body = (take or self._body)(response, told, patience)
        except requests.exceptions.RequestException as error:
            raise self._failure(error, told) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        link = response.links.get("next", {}).get("url") if "link" in headers else None
        answer = Answer(f"{told} answered {response.status_code}, and", url, response.status_code, headers, body, link)
        if response.status_code in _REDIRECTS and "location" in headers:
            return answer, headers["location"]
        if response.status_code == 304 and (known := self._known.get(asked)):
            return known, None
        if response.status_code == 200 and conditional:
            self._known.keep(asked, answer)
        return answer, None

    def _body(self, response: requests.Response, told: str, patience: Patience) -> bytes:
        """The unpacked body; raises where there is too much of it, or it takes too long."""
        blocks, size, most = [], 0, self._config.max_bytes
        for block in response.iter_content(_BLOCK):
            size += len(block)
            if size > most:
                raise MalformedData(
                    f"{told} sends more than {most:,} bytes (unpacked).",
                    hint="If that is meant, raise the option max_bytes; a smaller page_size is better.",
                    limit=most,
                )
            blocks.append(block)
            patience.check()
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in _PACKINGS and encoding not in _BASIC_HEADERS["Accept-Encoding"]:
            raise MalformedData(
                f"{told} answers packed as {encoding!r}, which can't be unpacked here.",
                hint='Run: pip install "cracktrader-http[compression]"',
            )
        return b"".join(blocks)

    def _lines(self, response: requests.Response, told: str) -> Iterator[bytes]:
        """The lines of a body as they come, until it ends or breaks off."""
        left = b""
        while True:
            try:
                block = response.raw.read1(_BLOCK, decode_content=True)
            except (urllib3.exceptions.HTTPError, OSError):
                return
            if not block:
                return
            *lines, left = (left + block).splitlines(keepends=True)
            if left.endswith(b"\n"):
                lines, left = [*lines, left], b""
            if len(left) > self._config.max_bytes:
                raise MalformedData(f"{told} sends a line of more than {self._config.max_bytes:,} bytes.", hint="Is it a stream?")
            for line in lines:
                yield line.rstrip(b"\r\n")

    def _failure(self, error: requests.exceptions.RequestException, told: str) -> Exception:
        """What a failed exchange means: try again, or what to do."""
        said = self.secrets.hide(str(error))[:300]
        if isinstance(error, requests.exceptions.SSLError):
            return PermanentSourceError(
                f"{told}: the connection is not safe: {said}",
                hint="If your network has certificates of its own, name them: ca_file='….pem', or set REQUESTS_CA_BUNDLE.",
            )
        if isinstance(
            error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.InvalidProxyURL)
        ):
            return InvalidOption(f"{told}: the address can't be used: {said}", hint="Check the options `url` and `proxy`.")
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return Again(
                f"no connection within {self._config.connect_timeout:g} s", hint="Is the address right, is the server up?"
            )
        if isinstance(error, requests.exceptions.Timeout) or "timed out" in said:
            return Again("the server stopped answering", hint="Try again later, or give it more time: read_timeout=…, budget=…")
        if isinstance(error, requests.exceptions.ContentDecodingError):
            return Again(f"the answer can't be unpacked: {said}")
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return Again(f"the connection broke off in the middle of the answer: {said}")
        return Again(
            f"no connection: {self.secrets.hide(_innermost(error))[:300]}",
            hint="Is the address right, is the server up, is there a network?",
        )

    def _checked(self, answer: Answer) -> Answer:
        """An answer worth reading; raises :class:`Again` where another try makes sense."""
        if answer.status in _IN_PASSING:
            wait = retry_after(answer.headers.get("retry-after"))
            if wait is not None and answer.status in (418, 429):
                HostBudget.of(urlsplit(answer.url).netloc.rpartition("@")[2]).stop(wait)
            raise Again(f"it answered {answer.status}: {self.excerpt(answer)}", wait=wait)
        if answer.status == 401 and isinstance(self._config.signing, OAuth2) and self._signer.renewed():
            raise Again(f"it answered 401: {self.excerpt(answer)}", wait=0)
        if answer.status in (401, 403, 407):
            raise PermanentSourceError(
                f"{answer.told} refuses: {self.excerpt(answer)}",
                hint="Check the key, how it is sent (api_key, auth), and what it may do.",
                status=answer.status,
            )
        return answer

    def refused(self, answer: Answer) -> CracktraderError:
        """The error for an answer with a status that is no success."""
        said = f"{answer.told} says: {self.excerpt(answer)}"
        if answer.status in (404, 410):
            return SourceNotFound(
                said, hint="Check the option `url`, and the symbol where the address holds it.", status=answer.status
            )
        return PermanentSourceError(
            said,
            hint="Check the options `url`, `params` and `headers` against the documentation of the API.",
            status=answer.status,
        )

    def excerpt(self, answer: Answer) -> str:
        """The first bytes of an answer, to be shown."""
        text = self.secrets.hide(answer.body[:2000].decode("utf-8", errors="replace"))
        return repr(text[:200]) if text else "nothing"

    # ── what requests are sent with ──────────────────────────────────────────────────────────────────

    def _opened(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = requests.Session()
                self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none are kept
                adapter = Adapter(pool_maxsize=max(10, self._config.concurrency))
                for scheme in ("http://", "https://"):
                    self._session.mount(scheme, adapter)
            return self._session

    def _surroundings(self, url: str) -> dict[str, Any]:
        """The proxies and certificates for an address: the options', else the environment's; looked up once per host."""
        origin = _origin(url)
        if origin not in self._environment:
            options = self._config
            proxies = {"http": options.proxy, "https": options.proxy} if options.proxy else {}
            verify = str(options.ca_file) if options.ca_file else None
            if verify and not options.ca_file.is_file():  # type: ignore[union-attr]
                raise InvalidOption(f"There is no file {verify!r}.", hint="Check the option `ca_file`.", option="ca_file")
            found = self._opened().merge_environment_settings(url, proxies, True, verify, None)
            self._environment[origin] = {name: found[name] for name in ("proxies", "verify", "cert")}
        return self._environment[origin]

    def _note_clock(self, date: str | None) -> None:
        if date is None or (moment := http_date(date)) is None:
            return
        skew = int(moment * 1000) + 500 - now_ms()
        self._skew = skew if abs(skew) > 2000 else 0  # the header tells no more than seconds

    def _ask_token(self, url: str, form: dict[str, str], user: str, secret: str) -> Any:
        import orjson

        def sent() -> Any:
            request = requests.Request(
                "POST", url, headers={**_BASIC_HEADERS, "Accept": "application/json"}, data=form, auth=(user, secret)
            )
            answer, location = self._send(self._prepared(request), patience)
            answer = self._checked(answer)
            if answer.status != 200 or location is not None:
                raise self.refused(answer)
            try:
                return orjson.loads(answer.body)
            except orjson.JSONDecodeError:
                raise MalformedData(f"{answer.told} sent no JSON.", hint="Is token_url right?") from None

        patience = self._patience(threading.Event())
        return patience.keep_trying(sent, lambda what: f"POST {self.secrets.hide_url(url)}: {what}")


def _innermost(error: BaseException) -> str:
    """What a chain of errors began with, without the errors around it."""
    for _ in range(20):
        causes = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        error = next((cause for cause in causes if isinstance(cause, BaseException)), error)
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return told[:1].lower() + told[1:] or type(error).__name__


def _origin(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # no number: then it is no origin that anything else has
        return url
    port = port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _secret_values(given: Any) -> Iterator[SecretStr]:
    if isinstance(given, SecretStr):
        yield given
    elif isinstance(given, (Mapping, list, tuple)):
        for item in given.values() if isinstance(given, Mapping) else given:
            yield from _secret_values(item)


def _environment_names(template: Any) -> set[str]:
    return set(re.findall(r"\{env:([^{}]*)\}", repr(template)))
