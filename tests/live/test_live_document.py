"""docs/live.md says what there is."""

import dataclasses
from pathlib import Path

import pytest

from cracktrader.live.settings import Counts, LiveSettings
from cracktrader.plugins.hooking import hook_names

TEXT = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LiveSettings.model_fields)
def test_every_option_is_in_the_table_with_its_default(name) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |")]
    default = LiveSettings.model_fields[name].default
    assert default is None or f"| {default} |" in row


def test_what_is_counted_and_what_streams_implement_is_named() -> None:
    stats = TEXT.partition("`feed.stats`")[2].partition("\n\n")[0]
    for field in dataclasses.fields(Counts):
        assert field.name in ("uncertain", "lost", "failed_fetches") or field.name in stats, field.name
    for hook in hook_names():
        assert not hook.startswith(("stream_", "close")) or f"`{hook}(" in TEXT
