"""What can't be read says where, quotes it and says what to do; or is left out and counted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader import errors

START = 1_704_067_200_000
HOUR = 3_600_000
HEADER = "time,open,high,low,close,volume\n"
ROWS = [f"{START + i * HOUR},1,2,0.5,1.5,10\n" for i in range(100)]


def damaged(at: int, line: str) -> str:
    """A file whose line ``at`` is another."""
    lines = [HEADER, *ROWS]
    lines[at - 1] = line + "\n"
    return "".join(lines)


@pytest.mark.parametrize("size", [1, 500, 1 << 20])
@pytest.mark.parametrize(("line", "message"), [
    (f"{START},1,abc,0.5,1.5,10", "bars.csv, line 17, column 'high': 'abc' is not a number."),
    (f"{START},1,2,0.5,\"1,5\",10", "bars.csv, line 17, column 'close': '1,5' is not a number."),
    (f"{START},1,2,0.5,1.5", f"bars.csv, line 17: '{START},1,2,0.5,1.5' has 5 columns, where 6 are expected."),
    (f"{START},1,2,0.5,1.5,10,11", f"bars.csv, line 17: '{START},1,2,0.5,1.5,10,11' has 7 columns, where 6 are expected."),
    ("<html>", "bars.csv, line 17: '<html>' has 1 column, where 6 are expected."),
    ("x" * 5000, f"bars.csv, line 17: '{'x' * 57}…' has 1 column, where 6 are expected."),
    (",1,2,0.5,1.5,10", "bars.csv, line 17, column 'time': '' is empty, but every line needs a time."),
    (f"{START},\0\1,2,0.5,1.5,10", "bars.csv, line 17, column 'open': '\\x00\\x01' is not a number."),
    (f"{START},1\r2,2,0.5,1.5,10", "bars.csv, line 17, column 'open': '1\\r2' is not a number."),
])  # fmt: skip
def test_a_line_that_can_not_be_read_is_told_with_its_number_column_and_text(
    line: str, message: str, size: int, write, load
) -> None:
    path = write(damaged(17, line))
    with pytest.raises(errors.MalformedData) as caught:
        load(path, chunk_bytes=size)
    assert caught.value.message == message.replace("bars.csv", str(path))
    assert caught.value.hint.startswith("If it has a decimal comma" if "'1,5'" in message else "Repair the line, or leave out")
    assert caught.value.context["line"] == 17
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("size", [1, 500, 1 << 20])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("packed", [True, False])
def test_the_line_is_counted_in_the_file_whatever_the_way_it_was_read(size: int, order: int, packed: bool, load) -> None:
    lines = ["\n", "a title\n", HEADER, "\n", *ROWS[::order]]
    lines[50] = lines[50].replace(",2,", ",two,")
    text = "".join(lines).encode()
    with pytest.raises(errors.MalformedData, match="line 51, column 'high': 'two' is not a number"):
        load(io.BytesIO(gzip.compress(text) if packed else text), chunk_bytes=size)
    with pytest.raises(errors.MalformedData, match="line 51, column 'high': 'two' is not a number"):
        load(io.BytesIO(gzip.compress(text) if packed else text), chunk_bytes=size, ordered=True, start=START)


def test_the_first_bad_line_is_the_one_that_is_told(load) -> None:
    text = damaged(17, "nonsense").replace(ROWS[3], ROWS[3].replace("2", "two")).replace(ROWS[60], "later\n")
    for size in (1, 100, 1 << 20):
        with pytest.raises(errors.MalformedData, match="line 5,"):
            load(io.StringIO(text), chunk_bytes=size)


@pytest.mark.parametrize("size", [1, 500, 1 << 20])
def test_bad_lines_can_be_left_out_and_are_counted(size: int, load) -> None:
    text = damaged(17, "nonsense").replace(ROWS[3], ROWS[3].replace("2", "two")).replace(ROWS[60], f"soon{ROWS[60]}")
    bars = load(io.StringIO(text), bad_lines="skip", chunk_bytes=size, validation="report")
    assert bars.time.tolist() == [START + i * HOUR for i in range(100) if i not in (3, 15, 60)]
    quoted = ROWS[3].replace("2", "two").split(",")[0] if "2" in ROWS[3].split(",")[0] else "two"
    note = next(note for note in bars.report.notes if "skipped" in note)
    assert note.startswith("3 lines of <StringIO> could not be read and were skipped; the first is line 5: ")
    assert quoted in note


def test_one_bad_line_is_spoken_of_in_the_singular(load) -> None:
    bars = load(io.StringIO(damaged(17, "nonsense")), bad_lines="skip")
    assert bars.provenance["notes"] == [
        "1 line of <StringIO> could not be read and was skipped;"
        " the first is line 17: 'nonsense' has 1 column, where 6 are expected."
    ]


def test_a_file_of_nothing_but_bad_lines_is_an_error_even_if_they_may_be_skipped(load) -> None:
    text = HEADER + "".join(f"x{row}" for row in ROWS)
    with pytest.raises(errors.MalformedData, match=r"can't be told|Not one line"):
        load(io.StringIO(text), bad_lines="skip")
    with pytest.raises(errors.MalformedData, match=r"Not one line of <StringIO> could be read\. .*line 2, column 'time': 'x"):
        load(io.StringIO(text), bad_lines="skip", time_unit="ms")


def test_bad_values_of_other_symbols_and_times_are_nobodys_business(load) -> None:
    text = "time,symbol,open,high,low,close\n" + f"{START},A,1,1,1,1\n{START},B,x,1,1,1\n{START + HOUR},A,y,1,1,1\n"
    for size in (1, 1 << 20):
        assert len(load(io.StringIO(text), symbol="A", end=START + HOUR, chunk_bytes=size)) == 1
        with pytest.raises(errors.MalformedData, match="line 4, column 'open': 'y'"):
            load(io.StringIO(text), symbol="A", chunk_bytes=size)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 99), st.text("0129.,;\"'xe-\n\r\0é ", max_size=12)), max_size=5), st.integers(20, 2000))
def test_any_damage_is_an_error_of_ours_and_never_depends_on_the_block(damage: list[tuple[int, str]], size: int) -> None:
    lines = list(ROWS)
    for at, text in damage:
        lines[at] = lines[at][: len(lines[at]) // 2] + text + lines[at][len(lines[at]) // 2 :]

    def outcome(**options: object) -> object:
        try:
            return ct.load("csv", path=io.StringIO(HEADER + "".join(lines)), timeframe="1h", validation="off", **options)
        except errors.MalformedData as error:
            return str(error)

    assert outcome(chunk_bytes=size) == outcome()
    assert outcome(chunk_bytes=size, bad_lines="skip") == outcome(bad_lines="skip")


# ── files that are no CSV, or no longer ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("data", "what"), [
    (b"PAR1\x15\x04\x15", "a Parquet file"), (b"ARROW1\0\0", "an Arrow file"), (b"SQLite format 3\0", "an SQLite database"),
    (pickle.dumps({"a": 1}), "a Python pickle"), (b"%PDF-1.7\n", "a PDF document"), (b"\x89PNG\r\n\x1a\n", "a picture"),
    (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "an HTML page"), (b'{"error": "not found"}', "JSON"),
    (b"[[1704067200000, 1, 2, 3]]", "JSON"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
])  # fmt: skip
def test_what_is_no_csv_is_called_what_it_is(data: bytes, what: str, tmp_path, load) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(errors.MalformedData) as caught:
        load(path)
    assert caught.value.message == f"{path} is not CSV: it looks like {what}."


def test_binary_data_is_refused(tmp_path, load) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(errors.MalformedData, match=r"is not CSV: it holds binary data"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_file_says_so(data: bytes, tmp_path, load) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(errors.MalformedData, match=r"x\.csv is empty\.\nWas it written completely\?"):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_compressed_empty_file_says_so(pack, tmp_path, load) -> None:
    (tmp_path / "x.csv").write_bytes(pack(b""))
    with pytest.raises(errors.MalformedData, match="is empty"):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize("text", [HEADER, HEADER.strip(), HEADER + "\n\n", "timestamp,open,high,low,close,volume\n"])
def test_a_header_and_no_row_are_no_bars_and_no_error(text: str, load) -> None:
    assert len(load(io.StringIO(text))) == 0


def test_one_row_is_enough(load) -> None:
    assert len(load(io.StringIO(HEADER + ROWS[0]))) == 1
    assert len(load(io.StringIO(ROWS[0].strip()))) == 1


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("share", [0.4, 0.95, 0.999])
def test_a_truncated_compressed_file_says_that_it_is_incomplete(kind: str, share: float, make_bars, tmp_path, load) -> None:
    data = PACKED[kind](make_bars(3000).to_csv(tmp_path / "x").read_bytes())
    path = tmp_path / f"x.csv.{kind}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(errors.MalformedData) as caught:
        load(path, "1m")
    assert str(caught.value) == f"{path} is incomplete: it ends within its compressed data.\nDownload or copy it again."


@pytest.mark.parametrize("kind", PACKED)
def test_a_damaged_compressed_file_says_that_it_is_damaged(kind: str, make_bars, tmp_path, load) -> None:
    data = bytearray(PACKED[kind](make_bars(3000).to_csv(tmp_path / "x").read_bytes()))
    for i in range(len(data) // 2, len(data) // 2 + 20):
        data[i] ^= 255
    path = tmp_path / f"x.csv.{kind}"
    path.write_bytes(data)
    with pytest.raises(
        errors.MalformedData, match=r"is damaged: it can't be unpacked|is incomplete|is not a number|column|time|binary"
    ):
        load(path, "1m")


def test_a_truncated_archive_says_that_it_is_incomplete(make_bars, tmp_path, load) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(make_bars(3000).to_csv(tmp_path / "x.csv"), "x.csv")
    path = tmp_path / "x.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.MalformedData, match=r"x\.zip is incomplete: it ends within its compressed data"):
        load(path, "1m")


def test_an_archive_without_a_csv_says_what_it_holds(tmp_path, load) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.md", "hello")
    with pytest.raises(errors.MalformedData, match=r"x\.zip holds no \.csv or \.txt file; it holds: readme\.md\."):
        load(tmp_path / "x.zip")


def test_an_excel_workbook_is_called_one(tmp_path, load) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<xml/>")
    with pytest.raises(errors.MalformedData, match=r"is not CSV: it looks like an Excel workbook\.\nSave the sheet as CSV\."):
        load(tmp_path / "x.xlsx")


@pytest.mark.parametrize(("name", "first", "what"), [
    ("x.xlsx", "[Content_Types].xml", "an Excel workbook"), ("x.csv", "[Content_Types].xml", "an Excel workbook"),
    ("x.xlsx", "xl/workbook.xml", "an Excel workbook"), ("x.ods", "mimetype", "a spreadsheet"),
    ("x.csv", "mimetype", "a spreadsheet"),
])  # fmt: skip
@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_a_spreadsheet_is_called_so_whether_it_is_whole_or_not(name, first, what, kept, tmp_path, load) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr(first, "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<xml/>" * 100)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(errors.MalformedData, match=rf"is not CSV: it looks like {what}\.\nSave the sheet as CSV\."):
        load(tmp_path / name)


def test_an_encrypted_archive_says_so(tmp_path, load) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.csv", HEADER + ROWS[0])
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the directory
    data[6] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(errors.PermanentSourceError, match=r"x\.zip/x\.csv is encrypted"):
        load(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [*PACKED, "zip"])
@pytest.mark.parametrize(("options", "message"), [
    ({}, "unpacks to more than 250 times its size: it looks like a decompression bomb"),
    ({"max_bytes": 1 << 20, "max_ratio": 1e9}, "unpacks to more than 1,048,576 bytes: it looks like a decompression bomb"),
])  # fmt: skip
def test_a_decompression_bomb_is_refused_early(kind: str, options: dict, message: str, tmp_path, load) -> None:
    part = (ROWS[0] * (1_000_000 // len(ROWS[0]))).encode()
    path = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.csv", part * 40)
    else:
        path.write_bytes(PACKED[kind](part) * 40)
    with pytest.raises(errors.MalformedData, match=message):
        load(path, **options)


def test_a_line_without_an_end_is_refused(tmp_path, load) -> None:
    for name, text in (("a", "x" * (3 << 20)), ("b", HEADER + "".join(ROWS * 20) + "1" * (3 << 20))):
        (tmp_path / name).write_text(text)
        with pytest.raises(errors.MalformedData, match="does not end within 1,048,576 bytes"):
            load(tmp_path / name, chunk_bytes=1 << 16)


# ── files that are not there ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "message"), [
    ("btc-usdt.csv", "There is no file '{folder}/btc-usdt.csv'.\nDid you mean 'btc_usdt.csv'?"),
    ("zzz", "There is no file '{folder}/zzz'.\nThe folder has: btc_usdt.csv."),
    ("gone/x.csv", "There is no file '{folder}/gone/x.csv': there is no folder '{folder}/gone'."),
    ("*.tsv", "No file matches '{folder}/*.tsv'.\nIs the pattern right, and the folder?"),
    ("sub", "The folder '{folder}/sub' holds no CSV files."),
])  # fmt: skip
def test_a_missing_file_is_answered_with_near_ones(path: str, message: str, tmp_path: Path, load) -> None:
    (tmp_path / "btc_usdt.csv").write_text(HEADER)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.parquet").write_text("")
    with pytest.raises(errors.SourceNotFound) as caught:
        load(f"{tmp_path.as_posix()}/{path}")
    assert str(caught.value).startswith(message.format(folder=tmp_path.as_posix()))
    assert isinstance(caught.value, FileNotFoundError)


class Locked(io.BytesIO):
    """What a file that another program holds answers."""

    def read(self, size: int | None = -1) -> bytes:
        if size:
            raise PermissionError(13, "Permission denied")
        return b""


def test_a_locked_file_says_so(load) -> None:
    with pytest.raises(errors.PermanentSourceError) as caught:
        load(Locked())
    assert str(caught.value) == (
        "'<Locked>' can't be read: permission denied.\nIs it locked by another program, or readable only for others?"
    )


class Broken(io.BytesIO):
    """A disk or a network that fails in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 60_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_disk_that_fails_in_the_middle_is_told_with_the_file(load) -> None:
    data = (HEADER + "".join(ROWS * 50)).encode()
    with pytest.raises(errors.PermanentSourceError, match=r"'<Broken>' can't be read: OSError: \[Errno 5\] Input/output error"):
        load(Broken(data))


def test_a_quote_that_opens_and_does_not_close_makes_no_rows_of_what_it_holds(load) -> None:
    rows = "time,open,high,low,close,note\n2024-01-01,1,1,1,1,plain\n2024-01-02,1,1,1,1,plain\n".replace(
        "plain", '"two\n2024-01-03,9,9,9,9,lines"', 1
    )
    with pytest.raises(errors.MalformedData, match=r"line 2: '2024-01-01,1,1,1,1,\"two' opens a quote and doesn't close it"):
        load(io.StringIO(rows), "1d")
    for size in (20, 1 << 20):
        with pytest.raises(errors.MalformedData, match="opens a quote"):
            load(io.StringIO(rows), "1d", chunk_bytes=size)


def test_a_header_in_the_middle_that_orders_columns_anew_is_not_skipped(load) -> None:
    text = "time,open,high,low,close,volume\n2024-01-01,1,1,1,1,5\n{}2024-01-02,1,1,1,1,5\n"
    assert len(load(io.StringIO(text.format("time,open,high,low,close,volume\n")), "1d", bad_lines="skip")) == 2
    with pytest.raises(errors.MalformedData, match=r"line 3: 'time,open,high,low,volume,close' names the columns anew"):
        load(io.StringIO(text.format("time,open,high,low,volume,close\n")), "1d", bad_lines="skip")
