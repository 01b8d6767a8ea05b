"""An exchange on loopback that unmodified ccxt and ccxt.pro clients talk to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cracktrader_ccxt.simulator.clock import Clock
    from cracktrader_ccxt.simulator.replay import Recorder, Replay
    from cracktrader_ccxt.simulator.server import Simulator

__all__ = ["Clock", "Recorder", "Replay", "Simulator"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    modules = {"Clock": "clock", "Recorder": "replay", "Replay": "replay", "Simulator": "server"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)
