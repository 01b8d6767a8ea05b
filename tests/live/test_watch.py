"""``cracktrader watch``, as a user runs it."""

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner
from venue import START

from cracktrader.cli.app import app
from cracktrader.cli.watch import watch


@pytest.fixture
def recording(tmp_path) -> str:
    """Sixty minutes of candles, one closed bar each, and tickers."""
    lines = [{"kind": "line", "at": START, "there": START, "source": "x", "symbol": "BTC/USDT", "timeframe": "1m"}]
    for number in range(60):
        end = START + (number + 1) * 60_000
        bar = {"open": 1.0, "high": 99.0, "low": 1.0, "close": 1.5 + number, "volume": 3.0, "closed": True, "flags": 0}
        lines.append({"kind": "candle", "at": end, "there": end, "symbol": "BTC/USDT", "timeframe": "1m",
                      "time": end - 60_000, **bar})  # fmt: skip
        lines.append({"kind": "ticker", "at": end, "there": end, "symbol": "BTC/USDT", "time": end, "bid": 99.0, "ask": 99.5})
    path = tmp_path / "hour.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_lines_are_printed_where_there_is_no_terminal(recording) -> None:
    options = [f"recording={recording}", "symbol=BTC/USDT", "timeframe=1m", "speed=600"]
    done = CliRunner().invoke(app, ["watch", "replay", *options, "--for", "1.5"])
    assert done.exit_code == 0, done.output
    assert "BTC/USDT 1m  live: Every bar that is over has gone out." in done.output
    assert "1 99 1 2.5  3" in done.output.replace("BTC/USDT 1m  ", "")


def test_a_table_is_kept_up_to_date_on_a_terminal(recording) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    watch(console, "replay", [f"recording={recording}", "symbol=BTC/USDT", "timeframe=1m", "speed=600"], 1.5)
    text = out.getvalue()
    for said in ("spread", "0.5", "reconnects", "2024-01-01T00:0"):
        assert said in text


def test_what_is_wrong_is_said_and_so_is_the_exit_status(recording) -> None:
    for settings, status, said in (
        ([f"recording={recording}", "symbol=DOGE", "timeframe=1m"], 4, "There is no symbol 'DOGE'"),
        ([f"recording={recording}", "symbol=DOGE"], 2, "timeframe=1m"),
        ([f"recording={recording}", "timeframe=1m", "grace=x"], 2, "grace"),
    ):
        done = CliRunner().invoke(app, ["watch", "replay", *settings, "--for", "5"])
        assert done.exit_code == status, done.output
        assert said in done.output
