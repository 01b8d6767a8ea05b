"""Random faults over an exchange on loopback, for seconds; `nox -s soak` does it for longer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("ccxt_soak", Path(__file__).with_name("long_soak.py"))
assert _SPEC is not None
soak = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(soak)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_every_series_is_what_the_exchange_has(seed: int) -> None:
    lines, wrong, struck = soak.one_run(seed, hours=0.75, speed=900)
    assert not wrong
    assert struck
    assert all(line.line.stats["bars"] >= 6 for line in lines)
