"""The line of closed candles, in virtual time: whatever goes wrong, what comes out is what was traded."""

import os

import pytest
from virtualvenue import World, row_of

from cracktrader.live.line import State

#: `nox -s soak` runs more worlds, for longer.
SEEDS = int(os.environ.get("CRACKTRADER_SOAK_SEEDS", "12"))
BARS = int(os.environ.get("CRACKTRADER_SOAK_BARS", "400"))


@pytest.mark.parametrize("flags", [True, False], ids=["flags", "no_flags"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_goes_wrong_every_bar_comes_once_in_order_and_as_it_was_traded(seed, flags) -> None:
    world = World(seed, bars=BARS, flags=flags, fill=seed % 2 == 0).run()
    assert [row_of(candle) for candle in world.delivered] == world.expected
    assert world.line.state is State.ENDED
    assert world.line.counts.revised == 0
