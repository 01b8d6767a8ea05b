"""What to do about what a check finds: the checks by name, their policies, the presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, field_validator, model_validator

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption, did_you_mean

__all__ = ["CHECKS", "Check", "CheckInfo", "CustomCheck", "Policy", "Severity", "Validation", "check"]

#: What happens to what a check finds. ``warn`` flags the rows SUSPECT and leaves them; ``drop`` takes them out;
#: ``quarantine`` takes them out and keeps them in the report; ``raise`` fails the load.
Policy: TypeAlias = Literal["ignore", "warn", "repair", "drop", "quarantine", "raise"]
Severity: TypeAlias = Literal["info", "warning", "error"]
_POLICIES: Final = get_args(Policy)


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """A built-in check: what it looks for, and what the presets ``repair`` and ``strict`` do about it."""

    id: str
    severity: Severity
    doc: str
    default: Policy
    strict: Policy
    #: What ``repair`` does; empty where nothing can be repaired.
    repair: str = ""
    #: The check's number, and what it means; None where it has none.
    limit: float | None = None
    limit_doc: str = ""


CHECKS: Final = {
    info.id: info
    for info in (
        CheckInfo("not_finite", "error", "a price or volume is NaN or infinite", "repair", "raise",
                  "an unknown volume becomes 0; a row with an unknown price is quarantined"),
        CheckInfo("non_positive_price", "error", "a price is zero or negative", "quarantine", "raise"),
        CheckInfo("negative_volume", "error", "the volume is negative", "repair", "raise", "the volume becomes 0"),
        CheckInfo("ohlc_order", "error", "high is not the highest or low not the lowest of the four prices", "repair", "raise",
                  "high and low become the highest and lowest of the four"),
        CheckInfo("unordered", "warning", "a row is older than one before it", "repair", "repair", "the rows are sorted by time"),
        CheckInfo("duplicate_time", "error", "a time occurs again", "repair", "raise", "the latest row wins"),
        CheckInfo("off_grid", "error", "a bar does not open on the grid of its timeframe", "quarantine", "raise"),
        CheckInfo("wrong_timeframe", "error", "bars stand regularly at another step than their timeframe", "raise", "raise"),
        CheckInfo("future", "error", "a bar opens later than the source's clock", "quarantine", "raise"),
        CheckInfo("unclosed", "info", "a bar has not ended by the source's clock, so it will change", "drop", "drop"),
        CheckInfo("extreme_move", "warning", "the close moved far from the close before", "warn", "warn",
                  limit=0.2, limit_doc="largest move: 0.2 is up to 1.2 times the close before, or down to 1 / 1.2 of it"),
        CheckInfo("spike", "warning", "the close jumped away and came straight back", "warn", "warn",
                  limit=20.0, limit_doc="how many robust standard deviations (MAD) of the closes' moves both jumps are, and 1 %"),
        CheckInfo("wick", "warning", "a high or low that neither the bar's own body nor its neighbours confirm", "warn", "warn",
                  limit=40.0, limit_doc="how many robust standard deviations (MAD) of the closes' moves it stands out, and 1 %"),
        CheckInfo("flatline", "warning", "prices and volume repeat, bar after bar: a frozen feed", "warn", "warn",
                  limit=10.0, limit_doc="how many bars in a row"),
        CheckInfo("zero_volume_run", "warning", "no volume, bar after bar", "warn", "warn",
                  limit=60.0, limit_doc="how many bars in a row"),
        CheckInfo("gap", "warning", "bars are missing; counts the missing bars", "repair", "raise",
                  "filled with the previous close and no volume, flagged FILLED",
                  limit=60.0, limit_doc="the longest stretch to fill, in bars; never longer than a day"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CustomCheck:
    """A check of one's own, made with :func:`check`."""

    id: str
    find: Callable[[Bars], NDArray[np.bool_]]
    severity: Severity = "warning"
    policy: Policy = "warn"
    doc: str = ""

    def __post_init__(self) -> None:
        if self.id in CHECKS:
            raise InvalidOption(f"There is a built-in check {self.id!r} already.", hint="Give yours another id.")
        if self.policy not in _POLICIES or self.policy == "repair":
            raise InvalidOption(
                f"A check of your own can't have the policy {self.policy!r}.", hint="ignore, warn, drop, quarantine or raise."
            )
        if self.severity not in get_args(Severity):
            raise InvalidOption(f"There is no severity {self.severity!r}.", hint=f"Severities: {', '.join(get_args(Severity))}.")


def check(id: str, *, severity: Severity = "warning", policy: Policy = "warn") -> Callable[[Callable[[Bars], Any]], CustomCheck]:
    """Make a check of a function from Bars to a mask of shape (n,), True where a row is doubtful.

    ::

        @ct.check("round_volume", severity="info")
        def round_volume(bars):
            \"\"\"the volume is a whole number\"\"\"
            return bars.volume == bars.volume.round()

        ct.load("csv", …, validation=ct.Validation(checks=[round_volume]))

    It sees ordered bars of finite, positive prices, before gaps are filled. ``policy`` may be anything but
    ``repair``; ``Validation(round_volume="raise")`` overrides it.
    """

    def decorate(function: Callable[[Bars], Any]) -> CustomCheck:
        doc = (function.__doc__ or id.replace("_", " ")).strip().splitlines()[0].rstrip(".")
        return CustomCheck(id, function, severity, policy, doc)

    return decorate


class Check(BaseModel):
    """The policy of one check and its limit; None means the preset's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Policy | None = None
    limit: float | None = Field(default=None, gt=0)


class Validation(BaseModel):
    """Which checks run and what happens to what they find.

    ``preset`` is the ground: ``"repair"`` (the default) mends what can be mended without guessing, takes out
    what can't be true, and flags the rest; ``"strict"`` raises on anything that would need mending;
    ``"report"`` only looks; ``"off"`` does not even look. Any check may be overridden, by a policy or by a
    :class:`Check` with a policy and a limit::

        ct.Validation(gap="ignore", extreme_move=ct.Check(policy="raise", limit=0.3))

    ``checks`` adds checks of your own (:func:`check`). ``max_loss`` is a safety catch: a load that would
    lose more than this share of its rows to quarantine, drop and later rows of the same time (copies aside)
    fails instead, because then the timeframe, the unit or the columns are wrong, not some rows.

    Raises :class:`~cracktrader.errors.InvalidOption`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, arbitrary_types_allowed=True)
    __pydantic_extra__: dict[str, Check]

    preset: Literal["strict", "repair", "report", "off"] = "repair"
    checks: tuple[InstanceOf[CustomCheck], ...] = ()
    max_loss: float = Field(default=0.5, ge=0, le=1)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = "".join(f"{part}: " for part in problem["loc"])
            raise InvalidOption(
                f"validation: {where}{problem['msg'].removeprefix('Value error, ')}.",
                hint=f"Policies: {', '.join(_POLICIES)}. Checks: {', '.join(CHECKS)}.",
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, options: Any) -> Any:
        plain = dict(options)
        for name in set(plain) - set(cls.model_fields):
            value = plain[name]
            if isinstance(value, str):
                plain[name] = {"policy": value}
            elif isinstance(value, bool):
                plain[name] = {} if value else {"policy": "ignore"}
        return plain

    @field_validator("checks", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(value)
        return (value,)

    @model_validator(mode="after")
    def _policies_exist(self) -> Validation:
        if twice := _twice(self.checks):
            raise ValueError(f"there are two checks called {twice!r}")
        for name, chosen in (self.__pydantic_extra__ or {}).items():
            if chosen.policy == "repair" and not (name in CHECKS and CHECKS[name].repair):
                raise ValueError(f"nothing can repair {name!r}: choose ignore, warn, drop, quarantine or raise")
            if chosen.policy in ("drop", "quarantine") and name in ("gap", "unordered"):
                raise ValueError(f"{name!r} has no rows to {chosen.policy}: choose ignore, warn, repair or raise")
            if chosen.limit is not None and not (name in CHECKS and CHECKS[name].limit):
                raise ValueError(f"{name!r} has no limit: give it a policy alone")
        return self

    @classmethod
    def of(cls, value: Validation | str | bool | None) -> Validation:
        """A Validation of itself, of a preset's name, or of None (the default) or False (off)."""
        if isinstance(value, Validation):
            return value
        if value is None or value is True:
            return cls()
        if value is False:
            return cls(preset="off")
        if value not in ("strict", "repair", "report", "off"):
            raise InvalidOption(
                f"validation={value!r} is not a preset.",
                hint="Give 'strict', 'repair', 'report' or 'off', or a ct.Validation(…).",
            )
        return cls(preset=value)

    def policy(self, name: str) -> Policy:
        """What happens to what the check finds."""
        chosen = (self.__pydantic_extra__ or {}).get(name)
        if chosen is not None and chosen.policy is not None:
            return chosen.policy
        if self.preset == "off":
            return "ignore"
        if self.preset == "report":
            return "warn"
        if name in CHECKS:
            return CHECKS[name].strict if self.preset == "strict" else CHECKS[name].default
        return next((own.policy for own in self.checks if own.id == name), "warn")

    def limit(self, name: str) -> float:
        """The number that goes with the check."""
        chosen = (self.__pydantic_extra__ or {}).get(name)
        if chosen is not None and chosen.limit is not None:
            return chosen.limit
        return CHECKS[name].limit or 0.0

    def with_checks(self, more: Sequence[CustomCheck]) -> Validation:
        """The same rules with more checks of users or plugins; raises :class:`InvalidOption` where two have one name."""
        checks = tuple(dict.fromkeys((*self.checks, *more)))
        if twice := _twice(checks):
            raise InvalidOption(f"There are two checks called {twice!r}.", hint="Rename yours, or leave one out.")
        return self.model_copy(update={"checks": checks}) if more else self

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Raise :class:`InvalidOption` where a check is configured that is neither built in nor in ``known``."""
        for name in self.__pydantic_extra__ or {}:
            if name not in CHECKS and name not in known:
                raise InvalidOption(
                    f"There is no check {name!r}.{did_you_mean(name, [*CHECKS, *known])}",
                    hint=f"Checks: {', '.join([*CHECKS, *known])}.",
                )


def _twice(checks: Sequence[CustomCheck]) -> str | None:
    """An id that two different checks have, None where each has its own."""
    ids = [custom.id for custom in dict.fromkeys(checks)]
    return next((id for id in ids if ids.count(id) > 1), None)
