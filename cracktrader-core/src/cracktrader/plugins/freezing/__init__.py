"""What freezing an app with PyInstaller needs to know of plugins.

A frozen app has no metadata of installed packages unless it is told to ship it, and imports that are only named in
entry points are not seen. The hook in this folder says both; ``pyinstaller --additional-hooks-dir`` takes the folder.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folder that PyInstaller finds our hook in."""
    return [str(Path(__file__).parent)]
