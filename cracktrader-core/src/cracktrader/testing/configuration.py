"""The contract, part one: options, secrets and errors."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any, get_args

import pytest
from pydantic import SecretBytes, SecretStr

from cracktrader.errors import CracktraderError, InvalidOption, UnknownSymbol, UnsupportedTimeframe
from cracktrader.plugins.source import Source, configure
from cracktrader.testing.base import SECRET, ContractBase, MakeSource
from cracktrader.timeframe import TIMEFRAMES, Timeframe

__all__ = ["ConfigurationContract"]

_SOUNDS_SECRET = re.compile(
    r"(^|_)(pass(word|wd|phrase)?|secrets?|token|credentials?|api_?key|private_?key|access_?key)($|_)", re.I
)


class ConfigurationContract(ContractBase):
    """Options are checked and kept, secrets stay secret, errors help."""

    # ── options ──────────────────────────────────────────────────────────────────────────────────────

    def test_an_unknown_option_is_refused_with_what_is_known(self, make: MakeSource) -> None:
        """A misspelt option that is ignored gives a user data that was not asked for."""
        with pytest.raises(InvalidOption, match="no_such_option") as caught:
            make(no_such_option=1)
        self.assert_helpful(caught.value)
        for option in type(make().plugin).Config.model_fields:
            assert option in str(caught.value), f"The error does not say that there is an option {option!r}."

    def test_missing_options_are_named(self, source: Source) -> None:
        """The error for an option that must be given says which one it is."""
        cls = type(source.plugin)
        required = [option for option, field in cls.Config.model_fields.items() if field.is_required()]
        try:
            configure(cls, {}, source.name)
        except InvalidOption as error:
            self.assert_helpful(error)
            assert all(option in error.message for option in required), f"{error.message} does not name {required}."
        else:
            assert not required

    def test_options_can_not_be_changed(self, source: Source) -> None:
        """A source is shared between loads and threads: derive Config from ``ct.SourceConfig``, which is frozen."""
        config = source.config
        assert isinstance(config, type(source.plugin).Config), "source.config must be an instance of Config."
        for option in type(config).model_fields:
            with pytest.raises((ValueError, TypeError, AttributeError)):
                setattr(config, option, None)

    def test_options_have_a_schema(self, source: Source) -> None:
        """``cracktrader schema`` shows it; give a field of an unusual type a ``WithJsonSchema``."""
        json.dumps(type(source.plugin).Config.model_json_schema())

    # ── secrets ──────────────────────────────────────────────────────────────────────────────────────

    def test_options_that_sound_secret_are_typed_as_secrets(self, source: Source) -> None:
        """``SecretStr`` keeps a password out of reprs, errors and logs; ``not_secret`` names the exceptions."""
        for option, field in type(source.plugin).Config.model_fields.items():
            if _SOUNDS_SECRET.search(option) and option not in self.not_secret:
                assert _is_secret(field.annotation), f"The option {option!r} should be a pydantic.SecretStr."

    def test_secrets_show_nowhere(
        self, make: MakeSource, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Not in reprs, errors, logs, warnings, printed text or provenance; not after pickling either.

        What other libraries log for debugging is their own business.
        """
        options = self._secret_options(make)
        caplog.set_level(logging.DEBUG)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            shown = self._everything_shown(make, options)
        printed = capfd.readouterr()
        own = type(make().plugin).__module__.partition(".")[0]
        records = [one for one in caplog.records if one.levelno > logging.DEBUG or one.name.partition(".")[0] == own]
        shown |= {"the log": " ".join(map(caplog.handler.format, records)), "the printed text": printed.out + printed.err}
        shown |= {"a warning": " ".join(str(warning.message) for warning in warned)}
        leaks = [place for place, text in shown.items() if SECRET in text]
        assert not leaks, f"The secret of the options {', '.join(options)} shows in {' and in '.join(leaks)}."

    def _everything_shown(self, make: MakeSource, options: dict[str, Any]) -> dict[str, str]:
        source = make(**options)
        plugin, config = source.plugin, source.config
        shown = {
            "the repr of the source": repr(source),
            "the text of the source": f"{source} {plugin}",
            "the repr of the plugin": repr(plugin),
            "the repr of its options": f"{config!r} {config}",
            "the repr of its options, pickled and back": repr(pickle.loads(pickle.dumps(config))),  # noqa: S301 - our own
        }
        attempts: dict[str, Callable[[], object]] = {
            "the error of an unknown option": lambda: make(**options, no_such_option=1),
            "the error of a secret of the wrong type": lambda: make(**{option: [SECRET] for option in options}),
            "the error of an unknown symbol": lambda: self.fetch(source, symbol=self.unknown_symbol or self.symbol),
        }
        for place, attempt in attempts.items():
            try:
                attempt()
            except CracktraderError as error:
                shown[place] = f"{error} {error!r} {dict(error.context)!r}"
        with contextlib.suppress(InvalidOption):  # it can't be kept in a catalog
            shown["the identity, by which a catalog names it"] = json.dumps(dict(source.identity))
        try:
            shown["the provenance of the bars"] = repr(dict(self.fetch(source).provenance))
        except CracktraderError as error:  # a secret that is wrong may well be refused
            shown["the error of a fetch"] = f"{error} {error!r} {dict(error.context)!r}"
        return shown

    def _secret_options(self, make: MakeSource) -> dict[str, Any]:
        fields = type(make().plugin).Config.model_fields
        options = {option: SECRET for option, field in fields.items() if _is_secret(field.annotation)} | dict(self.secret_options)
        if not options:
            pytest.skip("The source has no secret options.")
        return options

    # ── errors ───────────────────────────────────────────────────────────────────────────────────────

    def test_an_unknown_symbol_is_an_error_that_says_so(self, source: Source) -> None:
        """Not an empty answer, and not another symbol's bars: ``UnknownSymbol``, with what to do next."""
        if self.unknown_symbol is None:
            pytest.skip("The source takes any symbol.")
        with pytest.raises(UnknownSymbol) as caught:
            self.fetch(source, symbol=self.unknown_symbol)
        self.assert_helpful(caught.value)
        assert self.unknown_symbol in caught.value.message, "The error does not say which symbol is unknown."

    def test_a_timeframe_that_it_does_not_have_is_refused(self, source: Source) -> None:
        """With ``UnsupportedTimeframe``; never bars of another length under its name."""
        unknown = self.unknown_timeframe
        if unknown is None and source.offers("list_timeframes"):
            known = {Timeframe(timeframe) for timeframe in source.timeframes()}
            unknown = next((timeframe for timeframe in ("7m", *TIMEFRAMES) if Timeframe(timeframe) not in known), None)
        if unknown is None:
            pytest.skip("The source neither lists its timeframes nor says one that it does not have.")
        with pytest.raises(UnsupportedTimeframe) as caught:
            self.fetch(source, timeframe=unknown)
        self.assert_helpful(caught.value)

    def test_symbols_are_told_apart(self, source: Source) -> None:
        """Another symbol's bars are other bars."""
        if self.other_symbol is None:
            pytest.skip("No other symbol was named.")
        other = self.fetch(source, symbol=self.other_symbol)
        assert len(other), f"There are no bars of {self.other_symbol} in the range."
        assert other.but(symbol=self.symbol) != self.fetch(source), "Both symbols have the same bars."


def _is_secret(annotation: Any) -> bool:
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(_is_secret(part) for part in get_args(annotation))
