"""From a file's bytes to streams of text: compression, archives, encodings, and the limits that guard them."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, Final

from cracktrader.errors import CracktraderError, MalformedData, PermanentSourceError
from cracktrader.request import BarRequest
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.naming import those_meant
from cracktrader_csv.opening import Input, translated

__all__ = ["Member", "Recoded", "looks_like", "members", "tell_encoding"]

_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
# Below this a ratio says nothing: a few hundred bytes may well unpack to a hundred thousand.
_FREE_BYTES: Final = 32 << 20
_FOREIGN: Final = {
    b"PAR1": "a Parquet file", b"ARROW1": "an Arrow file", b"FEA1": "a Feather file", b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF document", b"\x89HDF": "an HDF5 file", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"\x04\x22\x4d\x18": "an lz4 file", b"\x93NUMPY": "a NumPy file",
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle"),
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"\x7fELF": "a program", b"PK\x05\x06": "an empty zip archive",
}  # fmt: skip
_CONTROL: Final = bytes(code for code in range(32) if chr(code) not in "\t\n\r\f")
_FOREIGN_TEXT: Final = {b"<!doctype": "an HTML page", b"<html": "an HTML page", b"<?xml": "an XML document", b"{": "JSON",
                        b"[": "JSON"}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One CSV text: a file, or one file of an archive. ``open()`` gives its bytes, unpacked.

    ``plain`` ones are not compressed: they can be read from any place. ``listed`` ones are read whatever their names say.
    """

    name: str
    stem: str
    open: Callable[[], BinaryIO]
    plain: bool
    listed: bool


def members(source: Input, config: CsvConfig, request: BarRequest | None, notes: list[str]) -> list[Member]:
    """The texts in a file: itself, or those of a zip archive that ``request`` means, in the order of their names."""
    with source.open() as raw, translated(source.name):
        magic = raw.read(128)
        if magic.startswith(_ZIP) and (what := _spreadsheet(source.name, magic)):
            raise MalformedData(f"{source.name} is not CSV: it looks like {what}.", hint="Save the sheet as CSV.")
        if not magic.startswith(_ZIP):
            codec = next((kind for kind in (_GZIP, _BZIP2, _XZ, _ZSTD) if magic.startswith(kind)), b"")
            opener = (lambda: _unpacked(source, codec, config)) if codec else source.open
            return [Member(source.name, source.stem, opener, not codec, source.listed)]
        names = _zip_names(raw, source.name, notes)
    texts = [
        Member(f"{source.name}/{name}", Input(name, source.open).stem, _zip_opener(source, name, config), False, source.listed)
        for name in names
    ]
    return those_meant(texts, request, source.name, notes, by_column=config.by_column)


def _unpacked(source: Input, codec: bytes, config: CsvConfig) -> BinaryIO:
    raw = source.open()
    stream: Any
    if codec == _GZIP:
        stream = gzip.GzipFile(fileobj=raw)
    elif codec == _BZIP2:
        stream = bz2.BZ2File(raw)
    elif codec == _XZ:
        stream = lzma.LZMAFile(raw)  # noqa: SIM115 - closed with what guards it
    else:
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    return _Guarded(stream, raw, source.name, config)  # type: ignore[return-value]


def _zip_opener(source: Input, name: str, config: CsvConfig) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        with contextlib.ExitStack() as failing, _damage_told(source.name):
            raw = failing.enter_context(source.open())
            archive = zipfile.ZipFile(raw)
            packed = archive.getinfo(name)
            if packed.flag_bits & 1:
                raise PermanentSourceError(f"{source.name}/{name} is encrypted.", hint="Unpack it first, with its password.")
            stream = _Guarded(archive.open(packed), raw, f"{source.name}/{name}", config)
            failing.pop_all()
            return stream  # type: ignore[return-value]

    return opened


def _zip_names(raw: BinaryIO, name: str, notes: list[str]) -> list[str]:
    with _damage_told(name), zipfile.ZipFile(raw) as archive:
        names = sorted(one for one in archive.namelist() if not one.endswith("/"))
    texts = [one for one in names if one.lower().endswith((".csv", ".txt", ".tsv")) and not _hidden(one)]
    if what := _spreadsheet(name, "".join(names).encode()):
        raise MalformedData(f"{name} is not CSV: it looks like {what}.", hint="Save the sheet as CSV.")
    if twice := next((one for one, other in pairwise(texts) if one == other), None):
        raise MalformedData(
            f"The archive {name} holds {twice!r} twice.", hint="Unpack it first, and name the file that is meant."
        )
    if not texts:
        raise MalformedData(f"The archive {name} holds no .csv or .txt file; it holds: {', '.join(names[:5]) or 'nothing'}.")
    if others := [one for one in names if one not in texts and not _hidden(one)]:
        notes.append(f"Left out of {name!r}, because they are no CSV: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}.")
    return texts


def _spreadsheet(name: str, content: bytes) -> str:
    """What a zip archive is that is a spreadsheet, whole or not; empty for others."""
    if b"[Content_Types].xml" in content or name.lower().endswith((".xlsx", ".xlsm", ".xlsb")):
        return "an Excel workbook"
    return "a spreadsheet" if b"opendocument" in content or name.lower().endswith((".ods", ".numbers")) else ""


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """What the decompressors raise, in our words."""
    try:
        yield
    except CracktraderError:
        raise
    except EOFError:
        raise _incomplete(name) from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, NotImplementedError, RuntimeError) as error:
        if "End-of-central-directory" in str(error) or "File is not a zip file" in str(error):
            raise _incomplete(name) from None
        raise _damaged(name, error) from None
    except OSError as error:
        raise (_incomplete(name) if "Truncated" in str(error) else _damaged(name, error)) from None


def _incomplete(name: str) -> MalformedData:
    return MalformedData(f"{name} is incomplete: it ends within its compressed data.", hint="Download or copy it again.")


def _damaged(name: str, error: Exception) -> MalformedData:
    return MalformedData(f"{name} is damaged: it can't be unpacked ({error}).", hint="Download or copy it again.")


class _Guarded(io.RawIOBase):
    """A stream of unpacked bytes that counts: nothing small may unpack to something endless."""

    def __init__(self, stream: Any, raw: BinaryIO, name: str, config: CsvConfig) -> None:
        self._stream, self._raw, self._name, self._config = stream, raw, name, config
        self._out = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with _damage_told(self._name):
            data = bytes(self._stream.read(size))
            taken = self._raw.tell()
        self._out += len(data)
        if self._out > self._config.max_bytes:
            self._refuse(f"unpacks to more than {self._config.max_bytes:,} bytes", "max_bytes")
        if self._out > _FREE_BYTES and self._out > self._config.max_ratio * max(taken, 1):
            self._refuse(f"unpacks to more than {self._config.max_ratio:g} times its size", "max_ratio")
        return data

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._raw.close()
        super().close()

    def _refuse(self, what: str, option: str) -> None:
        raise MalformedData(
            f"{self._name} {what}: it looks like a decompression bomb.", hint=f"If it is what you expect, raise {option}."
        )


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────


def looks_like(head: bytes) -> str:
    """What a file is that isn't text, in words; empty for what may be text."""
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return what
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower()
    for magic, what in _FOREIGN_TEXT.items():
        if start.startswith(magic):
            return what
    return ""


def tell_encoding(head: bytes) -> str:
    """The encoding of a text, by its first bytes; empty where it is none."""
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                       (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):  # fmt: skip
        if head.startswith(mark):
            return name
    if b"\0" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        half = len(head) // 2
        if max(odd, even) > 0.9 * half and not min(odd, even):
            return "utf-16-le" if odd else "utf-16-be"
    if len(head) - len(head.translate(None, _CONTROL)) > 0.01 * len(head):
        return ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


class Recoded(io.RawIOBase):
    """A stream of text of another encoding, or with other line ends, as UTF-8 whose lines end with a line feed."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        text = ""
        while not text:
            data = self._stream.read(size)
            text = self._decoder.decode(data, final=not data)
            if not data:
                break
        return text.encode()

    def close(self) -> None:
        self._stream.close()
        super().close()
