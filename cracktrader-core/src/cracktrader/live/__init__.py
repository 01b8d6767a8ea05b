"""Live data: streams followed in the background, closed candles in order, none missing, none twice."""

from typing import TYPE_CHECKING

from cracktrader._lazy import lazy

if TYPE_CHECKING:
    from cracktrader.live.building import CandleBuilder
    from cracktrader.live.following import LiveLine
    from cracktrader.live.hub import HUB, Hub
    from cracktrader.live.line import CandleLine, State
    from cracktrader.live.recording import read_recording
    from cracktrader.live.replay import ReplaySource
    from cracktrader.live.settings import LiveSettings

__all__ = ["HUB", "CandleBuilder", "CandleLine", "Hub", "LiveLine", "LiveSettings", "ReplaySource", "State", "read_recording"]

_MODULES = {
    "building": ("CandleBuilder",),
    "following": ("LiveLine",),
    "hub": ("HUB", "Hub"),
    "line": ("CandleLine", "State"),
    "recording": ("read_recording",),
    "replay": ("ReplaySource",),
    "settings": ("LiveSettings",),
}
__getattr__, __dir__ = lazy(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
