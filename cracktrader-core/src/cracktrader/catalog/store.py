"""Where a catalog lies: a folder, or an object store. Files come whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakValueDictionary

from cracktrader.errors import CatalogError, CatalogUnwritable, ConfigurationError

__all__ = ["FolderStore", "ObjectStore", "Store", "open_store", "shown"]

#: User and password of a URL; a key may hold slashes, even if it should not.
_USER: Final = re.compile(r"(?<=://)([^/@]*:[^@]*|[^/@]*)@")
_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
#: Another process may hold a lock for as long as its download lasts; whoever waits looks again this often, in seconds.
_POLL: Final = 0.05


class Store(Protocol):
    """Files under one root, by their path relative to it, with ``/`` between the parts."""

    @property
    def root(self) -> str:
        """The folder or URL, without secrets."""

    def read(self, path: str) -> bytes | memoryview:
        """The whole file; raises ``FileNotFoundError``."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write a file, whole or not at all; raises :class:`CatalogUnwritable`."""

    def delete(self, path: str) -> None:
        """Remove a file or a folder with all that is in it; none is no error."""

    def move(self, path: str, to: str) -> None:
        """Rename a file."""

    def files(self, folder: str = "") -> list[tuple[str, int]]:
        """The files in a folder, as ``(name, bytes)``, sorted; none where the folder isn't there."""

    def find(self, pattern: str) -> Iterator[str]:
        """The folders, at any depth, that hold a file of such a name, sorted."""

    def lock(self, folder: str) -> contextlib.AbstractContextManager[object]:
        """Held by one thread of one process at a time; given back by the system where a process dies."""


def open_store(root: str | os.PathLike[str], **options: Any) -> Store:
    """A folder, or an object store where ``root`` is a URL such as ``s3://bucket/bars``.

    Options are those of pyarrow's filesystem of that kind (``access_key``, ``secret_key``, ``endpoint_override``,
    ``region``, …) or, where pyarrow has none, of fsspec's. Raises :class:`ConfigurationError`.
    """
    text = os.fspath(root)
    if _URL.match(text) and not text.startswith("file://"):
        return ObjectStore(text, **options)
    if options:
        raise ConfigurationError(f"The folder {text!r} takes no options; {', '.join(options)} are those of an object store.")
    return FolderStore(text.removeprefix("file://"))


def shown(url: str) -> str:
    """A URL without user, password and query, which may be secret."""
    return _USER.sub("", url.partition("?")[0])


class FolderStore:
    """A folder. Files are written beside their place, flushed to the disk, and renamed."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).expanduser().absolute()
        try:
            if self._root.exists() and not self._root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        except OSError as error:
            raise ConfigurationError(
                f"The catalog can't be at {str(self._root)!r}: {error.strerror}.", hint="Name a folder; it is made if need be."
            ) from error

    @property
    def root(self) -> str:
        return str(self._root)

    def path(self, path: str) -> Path:
        """The file's own path."""
        return self._root / path

    def read(self, path: str) -> bytes:
        try:
            return self.path(path).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(str(self.path(path)), error) from error

    def write(self, path: str, data: bytes | memoryview) -> None:
        target = self.path(path)
        temporary = target.with_name(f".{secrets.token_hex(6)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise _unwritable(str(target), error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        import shutil

        target = self.path(path)
        try:
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(str(target), error) from error

    def move(self, path: str, to: str) -> None:
        try:
            self.path(to).parent.mkdir(parents=True, exist_ok=True)
            self.path(path).replace(self.path(to))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unwritable(str(self.path(to)), error) from error

    def files(self, folder: str = "") -> list[tuple[str, int]]:
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(str(self.path(folder)), error) from error

    def find(self, pattern: str) -> Iterator[str]:
        for folder, below, files in os.walk(self._root):
            below.sort()
            if fnmatch.filter(files, pattern):
                yield Path(folder).relative_to(self._root).as_posix()

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        try:
            self.path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(str(self.path(folder)), error) from error
        with _locked(self.path(folder) / ".lock"):
            yield


class ObjectStore:
    """A prefix in an object store, through pyarrow's filesystems, or fsspec's where pyarrow has none for the URL.

    A written object is there whole or not at all. Locks are held on this machine only: let one machine at a time fetch
    a series. Where two did, the record of one's fetch may be lost, and its range is fetched again; bars are never mixed up.
    That is why objects that were replaced stay where they are, until ``cracktrader catalog compact``: another machine's
    ledger may name them.
    """

    def __init__(self, url: str, **options: Any) -> None:
        import pyarrow as pa
        from pyarrow import fs

        self._url = shown(url).rstrip("/")
        try:
            self._files, self._base = _object_files(url, options)
        except (pa.ArrowException, OSError, ValueError, ImportError, TypeError) as error:
            raise ConfigurationError(
                f"The catalog {self._url!r} can't be opened: {type(error).__name__}: {_first_line(error)}",
                hint="Object stores are given as s3://bucket/prefix, gs://bucket/prefix, or a URL that fsspec knows.",
            ) from None
        self._selector = fs.FileSelector
        self._kinds = fs.FileType

    @property
    def root(self) -> str:
        return self._url

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def read(self, path: str) -> memoryview:
        with self._told(path), self._files.open_input_stream(self._full(path)) as stream:
            return memoryview(stream.read_buffer())

    def write(self, path: str, data: bytes | memoryview) -> None:
        full = self._full(path)
        try:
            if not self._flat:
                self._files.create_dir(str(PurePosixPath(full).parent), recursive=True)
            with self._files.open_output_stream(full) as stream:
                stream.write(data)
        except OSError as error:
            raise _unwritable(f"{self._url}/{path}", error) from error

    @property
    def _flat(self) -> bool:
        """Whether folders exist only in names."""
        return self._files.type_name in ("s3", "gcs", "abfs")

    def delete(self, path: str) -> None:
        try:
            about = self._files.get_file_info(self._full(path))
            if about.type == self._kinds.File:
                self._files.delete_file(self._full(path))
            elif about.type == self._kinds.Directory:
                self._files.delete_dir(self._full(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unwritable(f"{self._url}/{path}", error) from error

    def move(self, path: str, to: str) -> None:
        self.write(to, self.read(path))
        self.delete(path)

    def files(self, folder: str = "") -> list[tuple[str, int]]:
        return sorted((info.base_name, info.size) for info in self._infos(folder) if info.type == self._kinds.File)

    def find(self, pattern: str) -> Iterator[str]:
        files = [PurePosixPath(info.path) for info in self._infos("", recursive=True) if info.type == self._kinds.File]
        yield from sorted({str(file.relative_to(self._base).parent) for file in files if fnmatch.fnmatch(file.name, pattern)})

    def _infos(self, folder: str, *, recursive: bool = False) -> list[Any]:
        with self._told(folder):
            selector = self._selector(self._full(folder), recursive=recursive, allow_not_found=True)
            return list(self._files.get_file_info(selector))

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        from platformdirs import user_cache_path

        locks = user_cache_path("cracktrader") / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(str(locks), error) from error
        name = hashlib.blake2b(f"{self._url}/{folder}".encode(), digest_size=16).hexdigest()
        with _locked(locks / f"{name}.lock"):
            yield

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CatalogError(
                f"'{self._url}/{path}' can't be read: {_first_line(error)}", hint="Is the store there, and are you let in?"
            ) from None


def _object_files(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    import pyarrow as pa
    from pyarrow import fs

    scheme, _, rest = url.partition("://")
    if scheme == "s3":
        return _s3(url, options)
    if options and scheme in ("gs", "gcs"):
        return fs.GcsFileSystem(**options), rest.strip("/")
    if not options:
        with contextlib.suppress(pa.ArrowInvalid):
            files, base = fs.FileSystem.from_uri(url)
            return files, base.rstrip("/")
    import fsspec

    files, base = fsspec.core.url_to_fs(url, **options)
    return fs.PyFileSystem(fs.FSSpecHandler(files)), base.rstrip("/")


def _s3(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """S3, with options from the URL as pyarrow takes them, but which does not wait for minutes for a store that is not there."""
    from pyarrow import fs

    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not host or ":" in host:
        raise ValueError("the URL names no bucket, or a key that is not percent-encoded")
    named: dict[str, Any] = dict(zip(("access_key", "secret_key"), map(unquote, filter(None, user.split(":", 1))), strict=False))
    named |= {name: {"true": True, "false": False}.get(value, value) for name, value in parse_qsl(parts.query)}
    named |= options
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        named.setdefault("endpoint_override", endpoint)
    if not {"region", "endpoint_override"} & set(named) and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ):
        with contextlib.suppress(OSError):
            named["region"] = fs.resolve_s3_region(host)
    patience = {"connect_timeout": 5, "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=3)}
    return fs.S3FileSystem(**patience | {"allow_delayed_open": True} | named), f"{host}{parts.path}".strip("/")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    with _queues_lock:
        queue = _queues.setdefault(str(path), Lock())
    with queue:  # of threads, each of which goes on at once: only processes have to look again and again
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(poll_interval=_POLL)
        except OSError as error:
            raise _unwritable(str(path), error) from error
        try:
            yield
        finally:
            lock.release()


_queues: WeakValueDictionary[str, Lock] = WeakValueDictionary()
_queues_lock: Final = Lock()
if hasattr(os, "register_at_fork"):  # the threads that hold them are not in the child
    os.register_at_fork(after_in_child=_queues.clear)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(path: str, error: OSError) -> CatalogError:
    return CatalogError(f"{path!r} can't be read: {error.strerror}.", hint="Whose is the folder, and is its disk whole?")


def _unwritable(path: str, error: OSError) -> CatalogUnwritable:
    return CatalogUnwritable(
        f"The catalog can't write {path!r}: {error.strerror or _first_line(error)}.",
        hint="What it held before is unharmed. Make room or rights, name another with catalog=…, or load with catalog=False.",
        path=path,
    )


def _first_line(error: BaseException) -> str:
    return shown(str(error).strip().partition("\n")[0])[:300]
