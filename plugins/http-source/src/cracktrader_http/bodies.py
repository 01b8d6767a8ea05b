"""Bodies of answers as columns: JSON in its many shapes, NDJSON, CSV, Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from cracktrader.bars import PRICES
from cracktrader.columns import find_columns
from cracktrader.errors import MalformedData

__all__ = ["columns_of", "format_of", "parse_csv", "parse_json", "parse_ndjson", "parse_parquet", "rows_in"]

_POSITIONS: Final = ("time", *PRICES, "volume")
#: Whole numbers below this are the same as floats.
_EXACT: Final = 2.0**53
_SAY_COLUMNS: Final = "Say where they are: columns={'time': …, 'open': …}, with keys or positions from 0."

Wanted = Mapping[str, str | int]


def format_of(content_type: str, body: bytes) -> str:
    """How a body is written, by its type and first bytes."""
    if body[:4] == b"PAR1":
        return "parquet"
    if "csv" in content_type:
        return "csv"
    if any(word in content_type for word in ("ndjson", "jsonl", "json-lines", "stream+json")):
        return "ndjson"
    return "json"


# ── text to values ───────────────────────────────────────────────────────────────────────────────────


def parse_json(body: bytes) -> Any:
    """JSON as values; NaN and Infinity are read too, which many servers write. Raises :class:`MalformedData`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" in body or b"Infinity" in body:
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                pass
        raise MalformedData(_not_json(body, error), hint=_what_instead(body)) from None


def parse_ndjson(body: bytes) -> Any:
    """One JSON value a line, as a list."""
    return parse_json(b"[" + b",".join(line for line in body.splitlines() if line.strip()) + b"]")


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    start = body[:200].lstrip().lower()
    if not body.strip():
        return "The answer is empty, where JSON was expected"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "The answer is a page of HTML, not JSON"
    if error.pos >= len(body) - 1:
        return f"The JSON is cut off after {len(body):,} bytes"
    return f"The answer is not JSON: {error.msg} at byte {error.pos:,}"


def _what_instead(body: bytes) -> str:
    if body[:200].lstrip().startswith(b"<"):
        return "Is the address that of the API? Proxies and login pages answer like this, too."
    return "If it is something else, say so: format='csv', 'ndjson' or 'parquet'. If it was cut off, try again."


def parse_csv(body: bytes, delimiter: str, columns: Wanted) -> dict[Any, Any]:
    """The columns of CSV by name or, where there is no header, by position."""
    import pyarrow as pa
    import pyarrow.csv

    start = body.lstrip()
    if not start:
        return {}
    if start[:1] in (b"<", b"{"):
        raise MalformedData("The answer is not CSV", hint=_what_instead(body))
    first = start.partition(delimiter.encode())[0].strip().strip(b'"')
    header = not (columns and all(isinstance(where, int) for where in columns.values())) and not first[:1].isdigit()
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(start),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, autogenerate_column_names=not header),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(timestamp_parsers=[]),
        )
        return _arrow_columns(table, table.column_names if header else range(table.num_columns))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise MalformedData(f"The answer can't be read as CSV: {error}", hint="Are format and delimiter right?") from None


def parse_parquet(body: bytes, most: int) -> dict[Any, Any]:
    """The columns of a Parquet file by name; raises :class:`MalformedData` where they would take more than ``most`` bytes."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
        size = _unpacked(file.metadata)
        flat = [field for field in file.schema_arrow if not pa.types.is_nested(field.type)]
        texts = [field.name for field in flat if field.type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())]
        if size <= most:
            # texts stay in their dictionaries until it is known how much they are
            names = [field.name for field in flat]
            table = pyarrow.parquet.read_table(io.BytesIO(body), columns=names, read_dictionary=texts, use_threads=False)
            size += sum(_longest(table.column(name)) * table.num_rows for name in texts)
    except (pa.ArrowException, OSError) as error:
        raise MalformedData(f"The answer can't be read as Parquet: {error}", hint="Is `format` right? Was it cut off?") from None
    if size > most:
        raise MalformedData(
            f"The Parquet file unpacks to {size:,} bytes, more than {most:,}",
            hint="If that is meant, raise the option max_bytes.",
            limit=most,
        )
    return _arrow_columns(table.cast(pa.schema(flat)) if texts else table, table.column_names)


def _unpacked(metadata: Any) -> int:
    """The bytes of a Parquet file's columns in memory; a million equal values take a few bytes in the file, unpacked, too."""
    said = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    return int(max(said, metadata.num_rows * metadata.num_columns * 8))


def _longest(column: Any) -> int:
    """The bytes of the longest text of a column of dictionaries."""
    import pyarrow.compute as pc

    longest = [pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks if len(chunk.dictionary)]
    return max([one for one in longest if one is not None], default=0)


def _arrow_columns(table: Any, names: Sequence[Any]) -> dict[Any, Any]:
    import pyarrow as pa

    columns = {}
    for name, column in zip(names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = getattr(kind, "tz", None)
            texts = column.cast(pa.timestamp("us", zone)).cast(pa.string())
            columns[name] = tuple(texts.to_pylist())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            columns[name] = column.to_numpy()
        else:  # decimals by way of text, because Arrow's own cast is not always the nearest float
            columns[name] = tuple(column.cast(pa.string()).to_pylist() if pa.types.is_decimal(kind) else column.to_pylist())
    return columns


# ── values to columns ────────────────────────────────────────────────────────────────────────────────


def rows_in(body: Any) -> Any:
    """The rows of an answer that nobody said the path of: itself, columns or one row in it, or the only list in it."""
    if not isinstance(body, Mapping):
        return body
    found = find_columns(body)
    kinds = {isinstance(body[found[name]], list) if name in found else None for name in ("time", *PRICES)}
    if kinds in ({True}, {False}):
        return body if kinds == {True} else [body]
    lists = [value for value in body.values() if isinstance(value, list)]
    if not lists:  # one floor down
        inner = [value for value in body.values() if isinstance(value, Mapping)]
        lists = [value for one in inner for value in one.values() if isinstance(value, list)]
    if len(lists) == 1:
        return lists[0]
    raise MalformedData(
        f"It is not clear where the rows are in an answer with {', '.join(map(repr, list(body)[:10])) or 'nothing'}",
        hint="Say it with a JMESPath: records='data.candles'.",
    )


def columns_of(rows: Any, wanted: Wanted) -> dict[str, Any]:
    """The wanted columns, by our names, of rows in any shape; empty where there is no row. Raises :class:`MalformedData`."""
    if rows is None or (isinstance(rows, (list, Mapping)) and not rows):
        return {}
    if isinstance(rows, Mapping):
        first = next(iter(rows.values()))
        if isinstance(first, Mapping):  # rows by their times
            columns = _of_mappings(
                list(rows.values()), {name: where for name, where in wanted.items() if name != "time"}, keyed=True
            )
            return {"time": tuple(rows), **columns}
        return _of_columns(rows, wanted)
    if isinstance(rows, list):
        if isinstance(rows[0], Mapping):
            return _of_mappings(rows, wanted)
        if isinstance(rows[0], list):
            return _of_lists(rows, wanted)
    raise MalformedData(
        f"There are no rows: {str(rows[0] if isinstance(rows, list) else rows)[:60]!r}", hint="Does `records` lead to the rows?"
    )


def _of_lists(rows: list[Any], wanted: Wanted) -> dict[str, Any]:
    if (plain := _plain_numbers(rows)) is not None:
        return _of_columns(dict(enumerate(plain)), wanted)
    try:
        columns = list(zip(*rows, strict=True))
    except (TypeError, ValueError):
        width = len(rows[0])
        row = next(at for at, one in enumerate(rows) if not isinstance(one, list) or len(one) != width)
        raise MalformedData(
            f"Row {row} has not {width} values as the first one has: {str(rows[row])[:100]!r}",
            hint="The API sent a broken row.",
            row=row,
        ) from None
    return _of_columns(dict(enumerate(columns)), wanted)


def _plain_numbers(rows: list[Any]) -> NDArray[np.float64] | None:
    """The columns of rows that hold nothing but numbers, the usual case, at half the cost; None where a closer look is due."""
    width = len(rows[0])
    if set(map(type, rows[0])) - {int, float} or set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
        return None
    try:
        values = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width)
    except (TypeError, ValueError):
        return None
    if not (np.abs(values) < _EXACT).all():  # null, too
        return None
    if ((values == 0) | (values == 1)).any() and bool in map(type, chain.from_iterable(rows)):
        return None
    return np.ascontiguousarray(values.reshape(-1, width).T)


def _of_mappings(rows: list[Any], wanted: Wanted, *, keyed: bool = False) -> dict[str, Any]:
    places = _places(rows[0], wanted, keyed=keyed)
    if "volume" not in places and all(isinstance(row, Mapping) for row in rows):  # one row without it says nothing of the others
        places = _places(dict.fromkeys(chain.from_iterable(rows)), wanted, keyed=keyed)
    keys = tuple(places.values())
    try:
        values = zip(*map(itemgetter(*keys), rows), strict=True)
        return dict(zip(places, values, strict=True))
    except (KeyError, TypeError, IndexError):
        row = next(at for at, one in enumerate(rows) if not isinstance(one, Mapping) or not all(key in one for key in keys))
        lacking = [key for key in keys if not isinstance(rows[row], Mapping) or key not in rows[row]]
        raise MalformedData(
            f"Row {row} has no {', '.join(map(repr, lacking))}: {str(rows[row])[:100]!r}", hint=_SAY_COLUMNS, row=row
        ) from None


def _of_columns(columns: Mapping[Any, Any], wanted: Wanted) -> dict[str, Any]:
    places = _places(columns, wanted)
    taken = {name: columns[place] for name, place in places.items()}
    lengths = {name: len(values) if hasattr(values, "__len__") and not isinstance(values, (str, Mapping)) else -1
               for name, values in taken.items()}  # fmt: skip
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise MalformedData(f"The columns are not of one length: {told}", hint="Does `records` lead to the columns?")
    return taken


def _places(present: Mapping[Any, Any], wanted: Wanted, *, keyed: bool = False) -> dict[str, Any]:
    """Where each column is, of those that are wanted or told from their names; raises where one that must be is not there."""
    by_position = all(isinstance(place, int) for place in present)
    told: Mapping[str, Any] = dict(zip(_POSITIONS, present, strict=False)) if by_position and not wanted else {}
    if not by_position:
        told = {name: place for name, place in find_columns(present).items() if name in _POSITIONS}
    places = {**told, **wanted}
    needed = [name for name in ("time", *PRICES) if not (keyed and name == "time")]
    lacking = [name for name in needed if name not in places] + [
        f"{name} ({place!r})" for name, place in places.items() if place not in present
    ]
    if lacking:
        found = f"rows of {len(present)} values" if by_position else ", ".join(map(str, list(present)[:20]))
        raise MalformedData(f"There is no column for {', '.join(lacking)}; found: {found}", hint=_SAY_COLUMNS)
    if keyed:
        places.pop("time", None)
    return places
