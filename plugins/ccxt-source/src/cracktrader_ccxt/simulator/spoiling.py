"""What request faults make of an answer."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Final

from aiohttp import web

from cracktrader_ccxt.simulator import faults as kinds
from cracktrader_ccxt.simulator.answers import Answer, Dialect, Page, Question
from cracktrader_ccxt.simulator.faults import RequestFault

__all__ = ["break_off", "instead", "send", "spoilt"]

_HTML: Final = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
_REASONS: Final = {
    403: "403 Forbidden",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


def instead(dialect: Dialect, fault: RequestFault, question: Question) -> Answer | None:
    """The answer that a fault gives instead of the true one."""
    match fault:
        case kinds.Status():
            answer = dialect.refusal(fault.status, question.now + 1000 * (fault.retry_after or 0))
            if fault.body is not None:
                answer = Answer(fault.body.encode(), fault.status)
            answer.headers |= fault.headers
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
            return answer
        case kinds.BannedPlace():
            return dialect.refusal(451, question.now)
        case kinds.Maintenance():
            return dialect.maintenance(question)
        case kinds.Forbidden():
            return _html(403)
        case kinds.HtmlError():
            return _html(fault.status)
    return None


def _html(status: int) -> Answer:
    return Answer(_HTML.format(_REASONS.get(status, f"{status} Error")).encode(), status, content_type="text/html")


def spoilt(page: Page, struck: list[RequestFault]) -> bytes:
    """The body of a page after the faults that get at its rows."""
    wanted = [fault for fault in struck if isinstance(fault, (kinds.EmptyPages, kinds.PageCap, kinds.Duplicates, kinds.Disorder))]
    if not wanted:
        return page.joined()
    rows = [row for part in page.rows for row in part.apart()]
    for fault in wanted:
        match fault:
            case kinds.EmptyPages():
                rows = []
            case kinds.PageCap():
                rows = rows[: fault.rows]
            case kinds.Duplicates():
                rows = [row for place, row in enumerate(rows) for _ in range(1 + (place % fault.every == fault.every - 1))]
            case kinds.Disorder(newest_first=True):
                rows = rows[::-1]
            case kinds.Disorder():
                random.Random(len(rows)).shuffle(rows)  # noqa: S311  # mixed up the same way each time
    return page.before + b"".join(rows)[:-1] + page.after


def break_off(request: web.BaseRequest) -> None:
    """Break a connection off, so that the client sees a reset."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def send(request: web.BaseRequest, answer: Answer, struck: list[RequestFault]) -> web.StreamResponse:
    """Send an answer, or less of it, or nothing."""
    if any(isinstance(fault, kinds.Reset) for fault in struck):
        break_off(request)
        raise asyncio.CancelledError
    slow = sum(fault.seconds for fault in struck if isinstance(fault, kinds.Slow))
    cut = next((fault for fault in struck if isinstance(fault, kinds.Truncated)), None)
    body = answer.body
    kind, _, charset = answer.content_type.partition(";charset=")
    if cut is not None and cut.honest:
        body, cut = body[: int(len(body) * cut.share)], None
    if not slow and cut is None:
        return web.Response(body=body, status=answer.status, headers=answer.headers, content_type=kind, charset=charset or None)
    response = web.StreamResponse(status=answer.status, headers=answer.headers | {"Content-Type": answer.content_type})
    response.content_length = len(body)
    await response.prepare(request)
    kept = body if cut is None else body[: int(len(body) * cut.share)]
    pieces = 20 if slow else 1
    size = -(-len(kept) // pieces) or 1
    for place in range(0, len(kept), size):
        await asyncio.sleep(slow / pieces)
        await response.write(kept[place : place + size])
    if cut is not None and request.transport is not None:
        request.transport.close()
        raise asyncio.CancelledError
    await response.write_eof()
    return response
