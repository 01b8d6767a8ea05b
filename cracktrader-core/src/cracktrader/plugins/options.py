"""The options of a source: the model's base, what users read when they get one wrong, and keeping secrets secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, SecretBytes, SecretStr, ValidationError

from cracktrader.errors import CracktraderError, InvalidOption, PluginBroken, did_you_mean
from cracktrader.plugins.discovery import Origin

if TYPE_CHECKING:
    from cracktrader.plugins.source import DataSource

__all__ = ["SourceConfig", "configure", "hide_secrets", "option_names"]


#: Options that a load takes itself: no source is asked about them, but they are misspelt like any other.
_OF_LOADS: Final = ("symbol", "timeframe", "start", "end", "limit", "compression", "validation")


class SourceConfig(BaseModel):
    """A base for the options of a source: unknown ones are refused, values can't change, input stays out of errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True,
                              arbitrary_types_allowed=True)  # fmt: skip


def option_names(model: type[BaseModel]) -> dict[str, str]:
    """Every spelling of every option, with the field it means."""
    names: dict[str, str] = {}
    for field, info in model.model_fields.items():
        names[field] = field
        choices = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [info.validation_alias]
        names.update({alias: field for alias in [info.alias, *choices] if isinstance(alias, str)})
    return names


def configure(cls: type[DataSource], options: Mapping[str, Any], name: str = "", origin: Origin | None = None) -> BaseModel:
    """The options of a source, validated by its ``Config``; raises :class:`InvalidOption`."""
    label = repr(name or cls.__name__)
    known = option_names(cls.Config)
    takes = ", ".join(cls.Config.model_fields) or "no options"
    for option in options:
        if option not in known and cls.Config.model_config.get("extra") != "allow":
            guess = "" if option in _OF_LOADS else did_you_mean(option, [*_OF_LOADS, *known])
            raise InvalidOption(
                f"The source {label} has no option {option!r}.{guess}",
                hint=f"Give it to ct.load or ct.feed: each load says it anew. The source takes: {takes}."
                if option in _OF_LOADS
                else f"It takes: {takes}.",
                source=name,
                option=option,
            )
    try:
        return cls.Config(**options)
    except ValidationError as error:
        hint = f"It takes: {takes}. See `cracktrader schema {name}`." if name else f"It takes: {takes}."
        problems = [_problem(problem) for problem in error.errors(include_input=False, include_url=False)]
        raise InvalidOption(
            f"The source {label} can't use these options: {'; '.join(text for text, _ in problems)}.",
            hint=next((said for _, said in problems if said), hint),
            source=name,
        ) from None
    except CracktraderError:
        raise
    except Exception as error:  # pydantic lets through whatever a validator raises that is no ValueError
        raise PluginBroken(
            f"The source {label} failed over its options: {type(error).__name__}: {error}",
            hint=(origin or Origin(entry_point=f"{cls.__module__}:{cls.__qualname__}")).blame(),
            source=name,
        ) from error


def _problem(problem: Any) -> tuple[str, str]:
    """What pydantic found wrong with an option, in words, and the hint of the error behind it."""
    option = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"{option!r} is missing", ""
    cause = problem.get("ctx", {}).get("error")
    message = cause.message if isinstance(cause, CracktraderError) else problem["msg"]
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return f"{option!r}: {message.rstrip('.')}" if option else message.rstrip("."), getattr(cause, "hint", "")


def hide_secrets(text: str, options: Any) -> str:
    """``text`` without the values of the secrets among ``options``."""
    for secret in _secrets(options):
        text = text.replace(secret, "**********")
    return text


def _secrets(options: Any) -> Iterator[str]:
    if isinstance(options, (SecretStr, SecretBytes)):
        value = options.get_secret_value()
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if len(text) > 2:  # a shorter one is no secret, and hiding it would spoil the text
            yield text
    elif isinstance(options, BaseModel):
        for _, value in options:
            yield from _secrets(value)
    elif isinstance(options, (Mapping, list, tuple, set, frozenset)):
        for value in options.values() if isinstance(options, Mapping) else options:
            yield from _secrets(value)
