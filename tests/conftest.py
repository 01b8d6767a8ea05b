"""What all tests share: how hypothesis runs, and where the real market data is."""

import os
from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ImportError:  # the smoke tests run where only the product is installed
    pass
else:
    settings.register_profile("dev", deadline=None, max_examples=50, print_blob=True)
    settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real candles; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CRACKTRADER_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"there is no folder of real market data at {folder}; CRACKTRADER_SHARED_DATA may name another")
    return folder


@pytest.fixture(autouse=True)
def _own_catalog(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the catalog of whoever runs it."""
    monkeypatch.setenv("CRACKTRADER_CATALOG", str(tmp_path_factory.getbasetemp() / "catalog"))
