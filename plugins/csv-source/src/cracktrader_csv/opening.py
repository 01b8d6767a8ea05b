"""From the ``path`` option to files that can be opened: local ones, patterns, folders, URLs, file objects."""

from __future__ import annotations

import contextlib
import difflib
import errno
import glob
import io
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from cracktrader.errors import CracktraderError, InvalidOption, PermanentSourceError, SourceNotFound, TemporarySourceError
from cracktrader.request import BarRequest
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.naming import those_meant
from cracktrader_csv.urls import is_url, redact

__all__ = ["Input", "find_inputs", "translated"]

_SUFFIXES = (".csv", ".txt", ".tsv")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_MAGIC = re.compile(r"[*?\[]")
# One position is shared by everyone who reads a file object: seek and read must not be torn apart. A window may be on a window.
_SHARED = threading.RLock()


@dataclass(frozen=True)
class Input:
    """One file. ``name`` is what the user reads of it, without secrets; ``open()`` gives a seekable stream of its bytes.

    ``listed`` ones are read whatever their names say.
    """

    name: str
    open: Callable[[], BinaryIO]
    listed: bool = False

    @property
    def stem(self) -> str:
        """The name without folders and endings."""
        last = re.split(r"[\\/]", self.name.rstrip("\\/"))[-1]
        while (path := PurePath(last)).suffix.lower() in (*_SUFFIXES, *_COMPRESSED):
            last = path.stem
        return last


def find_inputs(config: CsvConfig, request: BarRequest | None, notes: list[str]) -> list[Input]:
    """The files that the configuration names and ``request`` means, those of a pattern or folder in the order of their names.

    What the user should know of it is added to ``notes``. Raises :class:`SourceNotFound`, :class:`InvalidOption`,
    :class:`PermanentSourceError` or :class:`TemporarySourceError`.
    """
    inputs: list[Input] = []
    for path in config.path if isinstance(config.path, list) else [config.path]:
        if hasattr(path, "read"):
            inputs.append(_of_object(path))
        else:
            name = os.fspath(path)
            found = _of_url(name, config) if is_url(name) else _of_path(name)
            inputs += those_meant(found, request, redact(name), notes, by_column=config.by_column)
    return [replace(one, listed=True) for one in inputs] if isinstance(config.path, list) else inputs


@contextlib.contextmanager
def translated(name: str, url: str = "") -> Iterator[None]:
    """Tell what the operating system or a file system's library raises in our words, without secrets."""
    try:
        yield
    except CracktraderError:
        raise
    except Exception as error:
        why: BaseException = error
        if isinstance(error, FileNotFoundError) and (cause := error.__cause__) is not None:
            # fsspec says so of an address that can't be reached, too.
            why = cause if type(cause).__module__.startswith("aiohttp") or isinstance(cause, TimeoutError) else error
        raise _failure(why, name, url) from None


def _failure(error: BaseException, name: str, url: str) -> CracktraderError:
    """What went wrong, as an error of ours."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return SourceNotFound(f"There is no file {name!r}.", hint="Is the path right?", path=name)
    if isinstance(error, PermissionError):
        return PermanentSourceError(
            f"{name!r} can't be read: permission denied.", hint="Is it locked by another program, or readable only for others?"
        )
    if isinstance(error, ImportError):
        return InvalidOption(f"{name!r} can't be opened: {error}.", hint="Install what this kind of URL needs.")
    if status in (401, 403):
        return PermanentSourceError(
            f"{name!r} can't be read: the server refuses access ({status}).", hint="Keys and passwords go into storage_options."
        )
    if isinstance(status, int) and status >= 400:
        kind = TemporarySourceError if status in (408, 425, 429) or status >= 500 else PermanentSourceError
        return kind(f"{name!r} can't be read: the server answers {status}.")
    # fsspec's back ends raise whatever their client libraries do, often with the whole URL in it.
    said = redact(str(error)).replace(url or "\0", name)
    kinds = {kind.__name__ for kind in type(error).__mro__}  # aiohttp's among them, which need not be installed
    passing = {"TimeoutError", "ConnectionError", "ClientConnectionError", "ClientPayloadError"} & kinds
    kind = TemporarySourceError if passing and "ClientSSLError" not in kinds else PermanentSourceError
    return kind(f"{name!r} can't be read: {type(error).__name__}: {said}".rstrip(": "))


# ── local files ──────────────────────────────────────────────────────────────────────────────────────


def _of_path(name: str) -> list[Input]:
    path = Path(name).expanduser()
    with translated(name):
        if path.is_dir():
            found = [one for one in sorted(path.iterdir()) if _is_data(one.name) and not one.is_dir()]
            if not found:
                raise SourceNotFound(
                    f"The folder {name!r} holds no CSV files.",
                    hint=f"Files ending in {', '.join(_SUFFIXES)} are read, also with {', '.join(_COMPRESSED)};"
                    " others must be named.",
                    path=name,
                )
            return [_local(one) for one in found]
        if path.exists() or path.is_symlink():
            return [_local(path)]
        if _MAGIC.search(name):
            matches = sorted(Path(one) for one in glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no "/"
            if not (found := [one for one in matches if one.is_file() or _dangles(one)]):
                raise SourceNotFound(f"No file matches {name!r}.", hint="Is the pattern right, and the folder?", path=name)
            return [_local(one) for one in found]
    raise _not_found(path)


def _dangles(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _local(path: Path) -> Input:
    name = str(path)
    if _dangles(path):
        raise SourceNotFound(
            f"{name!r} is a link to {str(path.readlink())!r}, which does not exist.", hint="Is the link right?", path=name
        )
    kept: list[BinaryIO] = []

    def opened() -> BinaryIO:
        with translated(name):
            if not path.is_fifo():
                return _told(path.open("rb", buffering=0), name)
            if not kept:  # whoever opens a pipe again waits for another writer
                with path.open("rb", buffering=0) as pipe:
                    kept.append(_spooled(pipe))
            return _told(_Window(kept[0]), name)

    return Input(name, opened)


def _is_data(name: str) -> bool:
    path = PurePath(name.lower())
    packed = path.suffix in _COMPRESSED and PurePath(path.stem).suffix in _SUFFIXES
    return not name.startswith(".") and (packed or path.suffix in (*_SUFFIXES, ".zip"))


def _not_found(path: Path) -> SourceNotFound:
    name, folder = str(path), path.parent
    if not folder.is_dir():
        return SourceNotFound(f"There is no file {name!r}: there is no folder {str(folder)!r}.",
                              hint=f"Paths are relative to {str(Path.cwd())!r}.", path=name)  # fmt: skip
    names = sorted(one.name for one in folder.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3)
    others = [one for one in names if _is_data(one)][:5]
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"The folder has: {', '.join(others) or 'no CSV files'}."
    return SourceNotFound(f"There is no file {name!r}.", hint=hint, path=name, near=near)


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────


def _of_url(url: str, config: CsvConfig) -> list[Input]:
    import fsspec

    secrets = {name: getattr(value, "get_secret_value", lambda value=value: value)()
               for name, value in config.storage_options.items()}  # fmt: skip
    shown = redact(url)
    over_http = re.match(r"(.*::)?https?://", url) is not None
    with translated(shown, url):
        system, path = fsspec.core.url_to_fs(url, **secrets)
        if _MAGIC.search(path) and not over_http:  # where a question mark begins a query
            found = sorted(system.glob(path))
            if not found:
                raise SourceNotFound(f"No file matches {shown!r}.", hint="Is the pattern right, and the bucket?", path=shown)
        elif not over_http and system.isdir(path):
            listed = (one["name"] for one in system.ls(path, detail=True) if one["type"] != "directory")
            found = sorted(one for one in listed if _is_data(one.rpartition("/")[2]))
            if not found:
                raise SourceNotFound(f"The folder {shown!r} holds no CSV files.", hint="Is the URL right?", path=shown)
        else:
            return [_remote(system, path, shown, url)]
        return [_remote(system, one, redact(str(system.unstrip_protocol(one))), url) for one in found]


def _remote(system: Any, path: str, shown: str, url: str) -> Input:
    def opened() -> BinaryIO:
        with translated(shown, url):
            return _told(system.open(path, "rb"), shown, url)

    return Input(shown, opened)


def _told(file: Any, name: str, url: str = "") -> BinaryIO:
    return _Translated(file if file.seekable() else _spooled(file), name, url)  # type: ignore[return-value]


class _Translated(io.RawIOBase):
    """A file whose failures are told in our words: a disk or a network may fail at any read."""

    def __init__(self, file: Any, name: str, url: str) -> None:
        self._file, self._name, self._url = file, name, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with translated(self._name, self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int = -1, /) -> bytes:
        with translated(self._name, self._url):
            return bytes(self._file.read(size))

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


# ── file objects ─────────────────────────────────────────────────────────────────────────────────────


def _of_object(file: Any) -> Input:
    name = redact(getattr(file, "name", "")) if isinstance(getattr(file, "name", None), str) else f"<{type(file).__name__}>"
    binary = getattr(file, "buffer", file)  # what is below a text file: its encoding is told like any other
    kept: list[BinaryIO] = []

    def opened() -> BinaryIO:
        if getattr(file, "closed", False):
            raise SourceNotFound(f"The file object {name} is closed.", hint="Give it open, or give its path instead.", path=name)
        with translated(name):
            if isinstance(binary.read(0), str):
                return io.BytesIO(_all_text(binary).encode())
            if getattr(binary, "seekable", lambda: False)():
                return _told(_Window(binary), name)
            if not kept:
                kept.append(_spooled(binary))
            return _told(_Window(kept[0]), name)

    return Input(name, opened)


def _all_text(file: Any) -> str:
    with _SHARED:
        if hasattr(file, "getvalue"):
            return str(file.getvalue())
        file.seek(0)
        return str(file.read())


def _spooled(file: Any) -> BinaryIO:
    """What can be read only once, kept on disk while it is used: memory stays bounded, and it can be looked at twice."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the window on it
    while data := file.read(1 << 20):
        kept.write(data)
    return _Window(kept, owned=True)  # type: ignore[return-value]


class _Window(io.RawIOBase):
    """A reader with a position of its own on a file object that others read as well.

    Closing it leaves the object open, unless it is ``owned``; then it is closed with the window, at the latest when nobody
    holds that any more.
    """

    def __init__(self, file: Any, *, owned: bool = False) -> None:
        self._file = file
        self._owned = owned
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            with _SHARED:
                offset += self._file.seek(0, io.SEEK_END)
        elif whence == io.SEEK_CUR:
            offset += self._position
        elif whence != io.SEEK_SET:
            raise OSError(errno.EINVAL, "whence")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        with _SHARED:
            self._file.seek(self._position)
            data = bytes(self._file.read(size))
        self._position += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._owned:
            self._file.close()
        super().close()
