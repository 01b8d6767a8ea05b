"""The examples run as they stand, and leave no process or warning behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Said of backtrader's docstrings where Python compiles them for the first time, in a fresh environment.
COMPILING = [
    f"-Wignore:{said}:{kind}"
    for said in ("invalid escape sequence", r'"\*" is an invalid escape sequence')
    for kind in ("DeprecationWarning", "SyntaxWarning")
]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error", *COMPILING, example],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for example in (ROOT / "examples").glob("*.py"):
        assert f"`{example.name}`" in listed
