"""The documents are true: their Python runs, their links lead somewhere, their tables are complete."""

import re
from pathlib import Path

import numpy as np
import pytest

import cracktrader as ct
from cracktrader import errors
from cracktrader.quality import CHECKS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "cracktrader-core" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERYTHING = sorted({*PAGES, *ROOT.glob("plugins/*/README.md")})


@pytest.fixture
def btc_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with the file that the documents speak of: two weeks of hours, with a gap."""
    rows = 24 * 14
    rng = np.random.default_rng(5)
    close = 42_000 * np.exp(np.cumsum(rng.normal(0, 0.004, rows)))
    open_ = np.concatenate(([42_000.0], close[:-1]))
    time = 1_704_067_200_000 + 3_600_000 * np.arange(rows)
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    bars = ct.Bars(time, open_, high, low, close, rng.lognormal(3, 1, rows), symbol="BTC/USDT", timeframe="1h")
    bars[np.r_[0:100, 103:rows]].to_csv(tmp_path / "btc.csv")
    bars.but(symbol="ETH/USDT").to_csv(tmp_path / "eth.csv")
    frame = bars.to_pandas().drop(columns="flags")
    assert len(frame) == rows
    monkeypatch.chdir(tmp_path)
    return tmp_path / "btc.csv"


def code_of(page: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "writing-a-plugin.md"], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, btc_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        (btc_csv.parent / name).write_text(text)
    exec(compile(code_of(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", EVERYTHING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_error_is_documented_with_its_code() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for name in errors.__all__:
        if name != "CracktraderError":
            assert f"| {getattr(errors, name).code} | `{name}` |" in page


def test_every_check_is_documented() -> None:
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(CHECKS)


def test_every_changelog_names_the_version_of_its_distribution() -> None:
    for changelog in ROOT.glob("*/CHANGELOG.md"):
        assert f"## {ct.__version__}" in changelog.read_text(encoding="utf-8")
