"""What can be chosen about a live line, and what is counted of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cracktrader.errors import InvalidOption

__all__ = ["Counts", "LiveSettings"]


class LiveSettings(BaseModel):
    """The options of a live feed; durations are seconds of the source's clock.

    Raises :class:`~cracktrader.errors.InvalidOption`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace: float = Field(
        default=1.0, ge=0, le=600, description="How long after its end a bar's last update, or a late trade, may come."
    )
    confirm: bool = Field(
        default=True,
        description="Fetch a bar that the stream has not called closed before it goes out. False takes the stream's last word.",
    )
    empty: Literal["fill", "skip"] | None = Field(
        default=None,
        description="What becomes of an interval without trades: a bar of the last close, flagged FILLED, or nothing."
        " Unless said, as the validation treats gaps.",
    )
    fill_limit: int | None = Field(
        default=None, ge=0, description="The longest stretch to fill, in bars; as the validation's unless said."
    )
    silence: float = Field(default=30.0, gt=0, description="A stream that says nothing for so long is probed.")
    patience: float = Field(default=10.0, gt=0, description="So long after something broke, CONNBROKEN is told.")
    align: float = Field(
        default=5.0,
        ge=0,
        description="How long a bar waits for those of other live feeds that end with it, at most; by this machine's clock.",
    )
    from_trades: bool | None = Field(
        default=None, description="Make the candles of trades. Unless said, where the source has no stream of candles."
    )
    record: Path | None = Field(default=None, description="A file to write every raw event into, with its time of arrival.")
    queue: int = Field(default=4096, ge=8, description="How many bars may wait for the strategy.")

    @classmethod
    def of(cls, options: dict[str, Any]) -> LiveSettings:
        """The settings, of options as users write them."""
        try:
            return cls(**options)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(map(str, problem["loc"]))
            raise InvalidOption(
                f"The live option {name}={options.get(name)!r} can't be: {problem['msg']}.",
                hint=f"Live options: {', '.join(cls.model_fields)}.", option=name,
            ) from None  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What happened to a line since it began."""

    messages: int = 0  #: events of the stream
    bars: int = 0  #: bars that went out
    filled: int = 0  #: of these, intervals without trades that were filled
    skipped: int = 0  #: intervals without trades that were left out
    confirmed: int = 0  #: bars whose last update was fetched, because the stream had not called them closed
    healed: int = 0  #: bars that the stream had not shown at all, and that were fetched
    revised: int = 0  #: bars that the source changed after they had gone out
    late: int = 0  #: candles of bars that had gone out already: duplicates, and those that came late
    rejected: int = 0  #: candles that no market makes: not finite, high below low, from the future
    uncertain: int = 0  #: bars that nothing could confirm, flagged SUSPECT
    lost: int = 0  #: intervals of which nothing could be learnt: no bar went out
    fetches: int = 0
    failed_fetches: int = 0
    reconnects: int = 0
    probes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)
