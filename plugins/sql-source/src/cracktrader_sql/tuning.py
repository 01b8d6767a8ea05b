"""What would make a slow table faster."""

from __future__ import annotations

import warnings
from typing import Final

import sqlalchemy as sa

from cracktrader_sql.relation import Relation

__all__ = ["advice"]

#: Seconds to find the first and the last row, from which on a user should know why.
_SLOW: Final = 2.0


def advice(connection: sa.Connection, relation: Relation, seconds: float) -> list[str]:
    """What to do about a table in which it took ``seconds`` to find a series; nothing where that was soon, or can't be helped."""
    if seconds < _SLOW or not isinstance(relation.source, sa.TableClause):
        return []
    keys = [relation.columns[role] for role in ("symbol", "timeframe", "time") if relation.has(role)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a dialect that can't tell
            inspector = sa.inspect(connection)
            table, schema = relation.source.name, relation.source.schema
            known = [list(inspector.get_pk_constraint(table, schema=schema)["constrained_columns"])]
            known += [[name for name in index["column_names"] if name] for index in inspector.get_indexes(table, schema=schema)]
    except (sa.exc.SQLAlchemyError, NotImplementedError):
        return []
    if any(set(index[: len(keys)]) == set(keys) for index in known):
        return []
    return [f"It took {seconds:.1f} s to find the series; an index on ({', '.join(keys)}) would help."]
