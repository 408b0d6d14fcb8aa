"""The REST service of a simulated venue: h11 on a socket, and what goes wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import h11

from feedhandler.simulate.venues.dialect import Answer
from feedhandler.simulate.venues.faults import REST_KINDS

if TYPE_CHECKING:
    from feedhandler.simulate.venues.server import VenueServer

IDLE_S = 30.0
WAIT_S = 0.02  # between two looks whether a played book has begun


async def serve_rest(server: VenueServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until it ends."""
    machine = h11.Connection(h11.SERVER)
    try:
        while True:
            request = await _request(machine, reader)
            if request is None or not await _answer(server, machine, writer, request):
                break
            if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
                break
            machine.start_next_cycle()
    except (OSError, ssl.SSLError, h11.RemoteProtocolError, TimeoutError):
        pass  # the client is gone, or speaks something else
    finally:
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), 1.0)


async def _request(machine: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The next request, its body read and dropped."""
    request = None
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(await asyncio.wait_for(reader.read(1 << 14), IDLE_S))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def _answer(
    server: VenueServer, machine: h11.Connection, writer: asyncio.StreamWriter, request: h11.Request
) -> bool:
    """Whether the connection goes on."""
    target = urlsplit(request.target.decode())
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    path = target.path.rstrip("/") or "/"
    server.stats["requests"] += 1
    faults = server.dice.due(REST_KINDS)
    kinds = {fault.kind: fault for fault in faults}
    headers = []
    dialect = server.dialect
    if "rest_old" in kinds:
        dialect = server.earlier(kinds["rest_old"].for_s)
    while server.playing and dialect.waits(path, query):
        await asyncio.sleep(WAIT_S)
    answer = dialect.rest(path, query, time.time_ns())
    if request.method not in (b"GET", b"HEAD"):
        answer = Answer(405, "{}")
    if "rest_slow" in kinds:
        await asyncio.sleep(kinds["rest_slow"].for_s)
    now = asyncio.get_running_loop().time()
    if not server.requests.take(now):
        answer = Answer(429, '{"code":-1003,"msg":"Too many requests."}')
        headers.append((b"retry-after", str(int(server.requests.due(now) - now) + 1).encode()))
    elif "rest_status" in kinds:
        answer = Answer(kinds["rest_status"].status, '{"code":-1003,"msg":"Too many requests."}')
        headers.append((b"retry-after", str(max(1, round(kinds["rest_status"].for_s))).encode()))
    elif "rest_garbage" in kinds:
        answer = Answer(200, "<html><body>Bad gateway</body></html>")
    if answer.status == 429:
        server.stats["limited"] += 1
    body = answer.body.encode()
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    data = machine.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if "rest_cut" in kinds:
        writer.write(data + body[: len(body) // 2])
        await writer.drain()
        return False
    if request.method != b"HEAD":
        data += machine.send(h11.Data(data=body)) or b""
    writer.write(data + (machine.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    return True
