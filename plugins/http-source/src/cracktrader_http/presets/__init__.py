"""Presets: the options of known APIs, each a TOML file of a dozen lines beside this one."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["preset_names", "read_preset"]

_FOLDER = Path(__file__).parent


@cache
def preset_names() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def read_preset(name: str) -> dict[str, Any]:
    """The options of one preset; raises ``ValueError`` where there is none of that name."""
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"there is no preset {name!r}{meant}; there are: {', '.join(preset_names())}")
    import tomllib

    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
