"""The HTML page: whole, self-contained and harmless, whatever the report holds."""

import re
import time
import warnings
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import QualityError
from cracktrader.quality import QualityReport
from cracktrader.quality.html import render
from cracktrader.quality.html.scales import Axis, moment, number, price_axis, time_ticks
from cracktrader.quality.html.series import bands, coverage, overview, zoom
from cracktrader.synthetic import FAULTS, Market, dirty
from cracktrader.times import parse_time

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = parse_time("2024-03-01")
VOID = {"meta", "link", "br"}
HOSTILE = '<script>alert("1")</script>\'&<img src=x onerror=alert(2)>\x00\u202e\ud800'


class Page(HTMLParser):
    """A page taken apart; fails where tags don't match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html, self.tags, self.text, self.open = html, [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag, **attributes):
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    def classes(self, name):
        return sum(name in (found.get("class") or "").split() for _, found in self.tags)

    @property
    def words(self):
        return " ".join(self.text)


def page_of(report: QualityReport) -> Page:
    """The page, after everything that is true of each was checked."""
    html = render(report)
    html.encode("utf-8")
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert not page.all("script")
    assert len(html) < 1_000_000
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "audio", "video", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value == "data:," or value.startswith("#")
            if name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height", "d"):
                assert not re.search("nan|inf|[^hHvV]e", value), (tag, name, value)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, a in page.tags if (value := a.get("href", "")).startswith("#")} <= set(ids)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"@import|url\((?!#)", style)
    assert not re.search(r"https?://", html.replace("http://www.w3.org", ""))
    return page


def bars_of(close, *, timeframe="1m", step=MINUTE, symbol="BTC/USDT", start=START, volume=1.0, **options) -> ct.Bars:
    close = np.asarray(close, float)
    time = start + step * np.arange(len(close))
    return ct.Bars(time, close, close, close, close, np.full(len(close), volume), symbol=symbol, timeframe=timeframe, **options)


def report_of(bars: ct.Bars, validation=None, **options) -> QualityReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the checks, on bars that no load would let pass
        report = ct.validate(bars, validation, **options).report
    assert report is not None
    return report


CLEAN = Market(12, outages=()).bars("ETH/USDT", "1m", "2022-03-01", "2022-03-04")
DIRTY, PUT_IN = dirty(CLEAN, seed=1)
GAPPY = Market(4).bars("XMR/BTC", "1m", "2024-03-01", "2024-03-05")


# ── it holds what a reader needs ─────────────────────────────────────────────────────────────────────


def test_a_clean_load_says_so_at_a_glance():
    page = page_of(report_of(CLEAN))
    assert page.classes("verdict") == page.classes("good") == 1
    assert "Nothing wrong was found" in page.words
    assert "2022-03-01 00:00 to 2022-03-03 23:59" in page.words
    assert "4,320, all kept" in page.words
    assert page.all("svg", role="img")
    assert "each candle is 15m" in page.words


def test_every_finding_has_its_row_section_table_and_charts():
    report = report_of(DIRTY)
    page = page_of(report)
    assert "6 checks found errors" in page.words
    for finding in report.found:
        assert finding.doc in page.words
        assert finding.check in page.words
    assert len(page.all("section", **{"class": "finding"})) == len(report.found) == len(FAULTS)
    sections = page.html.split('<section class="finding"')[1:]
    assert all(1 <= section.count("<figure>") <= 3 for section in sections)
    assert page.classes("m0") > 2  # in the legend, the overview and the section of the first finding


def test_errors_come_first():
    words = page_of(report_of(DIRTY)).words
    order = [
        words.index(text) for text in ("a price or volume is NaN", "the volume is negative", "a row is older", "bars are missing")
    ]
    assert order == sorted(order)


def test_a_repaired_value_is_shown_with_what_it_was():
    bars = bars_of([1.0, 2.0, 3.0]).but(volume=np.array([1.0, -5.0, 1.0]))
    html = render(report_of(bars))
    assert "<s>-5</s> → <b>0</b>" in html
    assert "1 repaired" in Page(html).words


def test_rows_that_were_taken_out_are_listed_and_drawn_as_ghosts():
    bars = CLEAN.but(low=np.where(np.arange(len(CLEAN)) == 100, 0.0, CLEAN.low))
    page = page_of(report_of(bars))
    assert "Quarantine" in page.words
    assert page.classes("ghost") == 1
    assert "taken out: non_positive_price" in page.words


def test_no_more_than_fifty_quarantined_rows_are_listed():
    bars = bars_of(np.where(np.arange(1000) % 3 == 0, -1.0, 5.0))
    page = page_of(report_of(bars))
    assert page.html.count("<td>non_positive_price</td>") == 50
    assert "… and 284 more." in page.words


def test_gaps_are_shaded_by_what_became_of_them():
    page = page_of(report_of(GAPPY))
    assert page.classes("b-filled") > 10
    held = np.r_[0:1000, 1200:1210, 1213:3000]
    page = page_of(report_of(CLEAN[held]))
    assert page.classes("b-open") > 1
    assert page.classes("b-filled") > 1
    assert "1 outage (200 bars)" in page.words
    assert "3 filled, 200 left open" in page.words


def test_a_closed_market_is_shaded_and_noted_but_no_finding():
    bars = Market(4, outages=()).bars("ETH/USDT", "1h", "2024-01-01", "2024-04-01")
    page = page_of(report_of(bars[(bars.time // DAY + 3) % 7 < 5]))
    assert page.classes("b-closed") > 8
    assert "market closed" in page.words
    assert "hours at which this market is closed" in page.words
    assert page.classes("v-shut") == 1
    assert "Nothing wrong was found" in page.words


def test_samples_beyond_the_first_are_counted():
    bars = bars_of(100 + np.arange(500) % 2 * 60.0)
    page = page_of(report_of(bars))
    assert "extreme_move, the first 10 of 499" in page.words
    assert "… and 489 more." in page.words


def test_request_and_provenance_are_there_but_folded():
    report = report_of(
        CLEAN.but(provenance={"plugin": "x-plugin", "rows": [1, 2]}), request={"symbol": "ETH/USDT", "limit": None}
    )
    page = page_of(report)
    assert page.all("details") == [{}]
    assert '"plugin": "x-plugin"' in page.words
    assert '"limit": null' in page.words


def test_a_check_of_ones_own_is_shown_like_the_others():
    @ct.check('my <b>"check"</b>', severity="info")
    def mine(bars):
        """the <i>volume</i> is round"""
        return np.arange(len(bars)) % 1000 == 5

    page = page_of(report_of(CLEAN, ct.Validation(checks=[mine])))
    assert 'my <b>"check"</b>' in page.words
    assert not page.all("i", **{"class": None})
    assert "the <i>volume</i> is round" in page.words


@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "words"),
    [
        (
            "coinbase_BTC-EUR_1m_2018-04-04_05.csv",
            "BTC/EUR",
            "1m",
            ["1 outage (431 bars)", "105 filled, 431 left open", "2018-04-04 16:49"],
        ),
        ("coinbase_BTC-USD_1d.csv", "BTC/USD", "1d", ["each candle is 1w", "log scale", "0.06", "2017-04-15"]),
    ],
)
def test_real_candles_show_what_is_known_of_them(shared_data, file, symbol, timeframe, words):
    page = page_of(report_of(ct.Bars.from_pandas(pd.read_csv(shared_data / file), symbol=symbol, timeframe=timeframe)))
    for text in words:
        assert text in page.words


# ── whatever the bars are ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "bars",
    [
        ct.Bars.empty("A/B", "1h"),
        bars_of([5.0]),
        bars_of([5.0, 5.0]),
        bars_of(np.full(500, 7.0)),
        bars_of(np.zeros(50)),
        bars_of(-np.arange(1.0, 50)),
        bars_of(np.linspace(1e-9, 2e-9, 400)),
        bars_of(np.linspace(1e-300, 2e-300, 400)),
        bars_of(np.linspace(1e11, 1e13, 400)),
        bars_of(np.geomspace(1e-8, 1e8, 400)),
        bars_of([1.0, 1e300, 1.0, -1e300, 1e308] * 9),
        bars_of([np.nan] * 30),
        bars_of([1.0, np.nan, np.inf, -np.inf, 2.0] * 9, volume=np.nan),
        bars_of([1.0, 2.0] * 30, volume=np.inf),
        bars_of(np.arange(1.0, 100), volume=0.0),
        bars_of(np.arange(1.0, 100), start=-5 * DAY * 365),
        bars_of(np.arange(1.0, 30), start=parse_time("9999-12-31T23:50")),
        bars_of(np.arange(1.0, 50), step=1000, timeframe="1s"),
        bars_of(np.arange(1.0, 900), step=7000, timeframe="7s"),
        bars_of(np.arange(1.0, 2000), step=DAY, timeframe="1d"),
        bars_of(np.arange(1.0, 2000), step=7 * DAY, timeframe="1w", start=parse_time("1990-01-01")),
    ],
    ids=lambda bars: f"{len(bars)}-{bars.timeframe}-{bars.close[0] if len(bars) else ''}",
)  # fmt: skip
@pytest.mark.parametrize("preset", ["repair", "report", "off"])
def test_any_bars_make_a_page(bars, preset):
    now = parse_time("2030-01-01") if not len(bars) or bars.time[-1] < 2e12 else None
    page_of(report_of(bars, ct.Validation(preset=preset, max_loss=1.0), now=now))


@pytest.mark.parametrize("preset", ["repair", "report", "off"])
def test_months_have_their_own_grid(preset):
    months = ct.Timeframe("1M").openings(parse_time("1995-01-01"), parse_time("2025-01-01"))
    months = np.delete(months, [30, 31, 100])
    price = np.linspace(100, 900, len(months))
    bars = ct.Bars(months, price, price * 1.1, price * 0.9, price, price, symbol="A/B", timeframe="1M")
    page = page_of(report_of(bars, preset))
    assert "1995-01-01 to 2024-12-01" in page.words
    assert preset == "off" or "2 gaps" in page.words or "missing" in page.words


@pytest.mark.parametrize("preset", ["report", "off"])
def test_disorder_that_was_left_in_is_drawn_in_order(preset):
    page = page_of(report_of(DIRTY, preset))
    assert page.all("svg", role="img")


def test_a_row_of_the_far_future_does_not_hide_the_others():
    time = np.append(CLEAN.time, parse_time("2999-01-01"))
    bars = ct.Bars(time, *(np.append(CLEAN[name], 100.0) for name in ("open", "high", "low", "close", "volume")),
                   symbol="A/B", timeframe="1m")  # fmt: skip
    page = page_of(report_of(bars, "report"))
    assert "each candle is 15m" in page.words
    assert "1 row too far from all others in time can't be drawn" in page.words


def test_times_beyond_the_calendar_are_no_obstacle():
    for times in ([0, 2**62], [-(2**62), 0], [2**62, 2**62 + MINUTE]):
        bars = ct.Bars(times, [1, 2], [1, 2], [1, 2], [1, 2], [1, 2], symbol="A/B", timeframe="1m")
        page_of(report_of(bars, "off"))
        page_of(report_of(bars, ct.Validation(preset="report", gap="ignore")))


values = st.floats(allow_nan=True, allow_infinity=True, width=64)
rows = st.lists(st.tuples(st.integers(-(2**44), 2**44), values, values, values, values, values), min_size=1, max_size=40)


@given(rows=rows, timeframe=st.sampled_from(["1s", "1m", "3d", "1w", "1M"]), preset=st.sampled_from(["report", "off"]))
def test_any_rows_at_all_make_a_page(rows, timeframe, preset):
    bars = ct.Bars(*(list(column) for column in zip(*rows, strict=True)), symbol="A/B", timeframe=timeframe)
    rules = ct.Validation(preset=preset, gap="ignore")  # nobody can list all seconds of a millennium
    page_of(report_of(bars, rules, now=0))


def test_a_million_rows_are_quick_and_small():
    close = 100 + np.cumsum(np.random.default_rng(1).normal(0, 0.01, 1_000_000))
    bars = bars_of(np.abs(close) + 1)[np.flatnonzero(np.arange(1_000_000) % 1000 > 3)]
    report = report_of(bars, now=parse_time("2050-01-01"))
    begin = time.process_time()
    page = page_of(report)
    assert time.process_time() - begin < 2
    assert len(page.html) < 500_000
    assert "each candle is 2d" in page.words or "each candle is 1w" in page.words


# ── without bars, and with hostile text ──────────────────────────────────────────────────────────────


def test_the_report_of_a_failed_load_has_its_tables():
    with pytest.raises(QualityError) as caught:
        ct.validate(DIRTY, "strict", request={"symbol": "ETH/USDT", "start": "2022-03-01T00:00:00Z", "end": None})
    report = caught.value.report
    assert report.bars is None
    page = page_of(report)
    assert not page.all("svg", role="img")
    assert "There are no charts" in page.words
    assert "2022-03-01T00:00:00Z to now" in page.words
    assert len(page.all("table")) > 5


def test_text_from_outside_can_do_nothing():
    bars = DIRTY.but(symbol=HOSTILE, source=HOSTILE, provenance={HOSTILE: HOSTILE, "notes": [HOSTILE, 'say "no"', "a" * 100_000]})
    report = report_of(bars, request={"start": HOSTILE, "symbol": HOSTILE})
    page = page_of(report)
    assert '<script>alert("1")</script>\'&' in page.words
    assert "\x00" not in page.html
    assert "<script" not in page.html
    assert "onerror=alert(2)&gt;" in page.html
    for _, attributes in page.tags:
        assert not {"onerror", "src"} & set(attributes)
    assert page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"].startswith("default-src 'none'")


def test_many_notes_and_a_large_provenance_keep_the_page_small():
    bars = CLEAN.but(provenance={"notes": [f"note {n}" * 300 for n in range(5000)]})
    page = page_of(report_of(bars))
    assert "… and 4,970 more notes" in page.words


def test_it_is_written_as_utf_8(tmp_path):
    report = report_of(CLEAN.but(symbol="Ä/€ 株"))
    text = report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert "Ä/€ 株" in text


# ── what is drawn ────────────────────────────────────────────────────────────────────────────────────


def test_the_overview_is_the_series_resampled():
    view = overview(CLEAN)
    resampled = CLEAN.resample(view.frame)
    for name in ("time", "open", "high", "low", "close"):
        assert np.array_equal(getattr(view.candles, name), resampled[name]), name
    np.testing.assert_allclose(view.candles.volume, resampled.volume, rtol=1e-12)
    assert view.candles.left[0] == 0
    assert view.candles.right[-1] == pytest.approx(1000)
    assert len(view.candles.time) <= 300


@pytest.mark.parametrize("rows", [1, 2, 299, 300, 301, 5_000, 400_000])
@pytest.mark.parametrize(("timeframe", "step"), [("1s", 1000), ("7s", 7000), ("1h", HOUR), ("1w", 7 * DAY)])
def test_an_overview_has_at_most_some_hundred_candles(rows, timeframe, step):
    if rows * step > 2e13:
        return
    view = overview(bars_of(np.full(rows, 5.0), timeframe=timeframe, step=step, start=parse_time("1990-01-01")))
    assert min(rows, 8) <= len(view.candles.time) <= 301


def test_coverage_counts_every_opening_once():
    checked = ct.validate(CLEAN[np.r_[0:1000, 1200:1210, 1213:4320]])
    view = overview(checked)
    cover = coverage(checked, view, checked.report["gap"].gaps)
    assert cover.expected.sum() == 4320
    assert cover.present.sum() == 4320 - 203
    assert cover.filled.sum() == 3
    assert cover.missing.sum() == 200
    assert (cover.missing >= 0).all()


def test_neighbouring_gaps_become_one_band():
    checked = ct.validate(GAPPY)
    gaps = checked.report["gap"].gaps
    shaded = bands(gaps, overview(checked))
    assert len(shaded) < len(gaps) / 3
    assert sum(band.missing for band in shaded) == sum(gap.missing for gap in gaps)
    assert 0 < min(band.share for band in shaded) < 0.5
    assert max(band.share for band in shaded) <= 1
    for kind in ("filled", "open"):
        edges = [(band.left, band.right) for band in shaded if band.kind == kind]
        assert all(left < right for left, right in edges)
        assert all(a[1] < b[0] for a, b in pairwise(edges))


def test_a_zoom_shows_twenty_bars_on_each_side_and_shortens_holes():
    bars = CLEAN[np.r_[0:1000, 2000:4320]]
    view = zoom(bars, int(bars.time[999]) + MINUTE, int(bars.time[1000]))
    assert len(view.candles.time) == 40
    assert [band.missing for band in view.bands] == [1000]
    assert view.slots < 60
    assert view.x(int(bars.time[999])) < view.bands[0].left + 1e-6


def test_bars_in_order_are_not_copied():
    assert CLEAN.in_order() is CLEAN
    assert CLEAN[::-1].in_order() == CLEAN


def test_one_wrong_price_does_not_flatten_the_axis():
    low, high = np.full(100, 99.0), np.full(100, 101.0)
    high[50] = 1e6
    axis = price_axis(low, high, 0.0, 100.0, reach=1.0, steep=5)
    assert 101 < axis.high < 110
    assert axis.y(1e6) == axis.y(axis.high) == 0.0
    assert price_axis(low, high, 0.0, 100.0, reach=1e9, steep=5).high > 1e6


@given(st.lists(st.floats(-1e12, 1e12).filter(lambda price: price == 0 or abs(price) > 1e-100), min_size=1, max_size=50))
def test_ticks_lie_on_the_axis_and_can_be_told_apart(prices):
    low = np.array(prices)
    axis = price_axis(low, low + np.abs(low) * 0.01, 0.0, 300.0, reach=1.0, steep=5)
    ticks = axis.ticks()
    assert len(ticks) < 14
    assert all(axis.low <= value <= axis.high for value, _ in ticks)
    if axis.high - axis.low > 1e-5 * max(abs(axis.low), abs(axis.high)):
        assert len({label for _, label in ticks}) == len(ticks) > 1


def test_steep_prices_have_decades():
    axis = price_axis(np.geomspace(0.002, 2000, 50), np.geomspace(0.003, 4000, 50), 0.0, 300.0, reach=1.0, steep=5)
    assert axis.log
    assert {"0.01", "1", "100"} <= {label for _, label in axis.ticks()}
    assert axis.y(np.array([axis.low, axis.high])) == pytest.approx([300.0, 0.0])
    assert not Axis(1.0, 2.0, 0.0, 1.0).log


@pytest.mark.parametrize(
    ("start", "end", "first"),
    [
        ("2024-03-01T10:00", "2024-03-01T10:01", ("10:00:00", "10:00:15")),
        ("2024-03-01T22:00", "2024-03-02T04:00", ("22:00", "23:00", "2 Mar")),
        ("2024-02-27", "2024-03-03", ("27 Feb", "28 Feb", "29 Feb", "1 Mar")),
        ("2023-11-15", "2024-04-01", ("Dec", "2024", "Feb")),
        ("1990-05-01", "2024-04-01", ("1995", "2000", "2005")),
    ],
)
def test_time_labels_are_round_and_short(start, end, first):
    labels = [label for _, label in time_ticks(parse_time(start), parse_time(end), 8)]
    assert tuple(labels[: len(first)]) == first
    assert len(labels) <= 9


def test_numbers_and_times_are_short():
    assert [number(value) for value in (1.0, 0.1 + 0.2, float("nan"), float("inf"), -float("inf"))] == [
        "1",
        "0.3",
        "NaN",
        "∞",
        "-∞",
    ]
    assert moment(START) == "2024-03-01 00:00"
    assert moment(START, ct.Timeframe("1d")) == "2024-03-01"
    assert moment(START + 1500) == "2024-03-01 00:00:01.500"
