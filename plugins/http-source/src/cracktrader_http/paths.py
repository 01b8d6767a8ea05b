"""JMESPaths: what they find in an answer, and whether an answer has the keys that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import jmespath

from cracktrader.errors import MalformedData

__all__ = ["has_keys", "search"]

#: Below these a key is looked for in the answer itself, not in a part of it.
_IN_THE_ANSWER: Final = frozenset({"not_expression", "and_expression", "or_expression", "comparator", "function_expression"})


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def search(expression: str, body: Any) -> Any:
    """What a JMESPath finds; raises :class:`MalformedData` where it can't be applied to such an answer."""
    try:
        return _compiled(expression).search(body)
    except jmespath.exceptions.JMESPathError as error:
        raise MalformedData(
            f"The JMESPath {expression!r} fails on the answer: {str(error).splitlines()[0]}",
            hint="Is the answer of another shape?",
        ) from None


def has_keys(expression: str, body: Any) -> bool:
    """Whether an answer has one of the keys that a JMESPath names, or it can't be told: null is not the same as not there.

    ``a || b`` says what counts where there is no ``a``, so an answer need not have it.
    """
    keys = list(_keys(_compiled(expression).parsed))
    return not keys or any(_is_there(path, body) for path in keys)


def _keys(node: Mapping[str, Any]) -> Iterator[list[str]]:
    kind, children = node["type"], node["children"]
    if kind == "or_expression" and children[1]["type"] in ("literal", "or_expression"):
        return
    if kind == "field":
        yield [node["value"]]
    elif kind == "subexpression" and all(child["type"] == "field" for child in _flat(node)):
        yield [child["value"] for child in _flat(node)]
    elif kind in _IN_THE_ANSWER:
        for child in children:
            yield from _keys(child)


def _flat(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for child in node["children"]:
        if child["type"] == "subexpression":
            yield from _flat(child)
        else:
            yield child


def _is_there(path: list[str], body: Any) -> bool:
    for key in path:
        if not isinstance(body, Mapping) or key not in body:
            return False
        body = body[key]
    return True
