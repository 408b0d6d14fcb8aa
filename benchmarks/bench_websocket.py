"""WebSocket clients beside each other: from the socket to a handler of frames; and our parser alone, in memory.

Each client is a process of its own with a server of its own (`websocket_server.py`): frames made beforehand, sent as
fast as the client takes them, of 200 and of 1,500 bytes, plain and over TLS. What is measured is the CPU time of the
client's process for a message, user and system; messages a second stand beside it. Over TLS it is 1.3 with AES-256-GCM
for all: the server goes by its own order; its records are full, 16 KiB, some eleven messages of 1,500 bytes.

    python benchmarks/bench_websocket.py --rounds 9                                # all four, and the parser
    python benchmarks/bench_websocket.py tls_200 parser --rounds 3 messages=50000

Ours and picows' fastest are Cython modules that are built here, with the flags of the package: a handler of frames in
C on our receiver and framing, and a listener on picows' own headers. Both look at the length and at the first byte of
each text. Ours checks what RFC 6455 asks for, UTF-8 among it; picows does not look at the text.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import ssl
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import harness
import websocket_server

from feedhandler.stages import load

HERE = Path(__file__).resolve().parent
BUILD = harness.ROOT / "build" / "bench"
FLAGS = ["-O3", "-g0", "-std=c11", "-fno-strict-aliasing", "-w"]
KINDS = {"plain_200": (200, False), "plain_1500": (1500, False), "tls_200": (200, True), "tls_1500": (1500, True)}
BASE = "picows, Python callback"
_open = ExitStack()  # servers, sockets: as long as the contestant's process
atexit.register(_open.close)


def built(name: str) -> Any:
    """The module of NAME.pyx beside this file; made when it is older than its source or than the package."""
    import numpy as np

    import feedhandler
    from feedhandler.receive import _stream

    source, folder = HERE / f"{name}.pyx", BUILD / "modules"
    target = folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    newest = max(source.stat().st_mtime, Path(_stream.__file__).stat().st_mtime)
    if not target.exists() or target.stat().st_mtime < newest:
        include = feedhandler.get_include()
        tools = import_module("setuptools")
        extension = tools.Extension(
            name, [str(source)], include_dirs=[*include, np.get_include()], extra_compile_args=FLAGS
        )
        paths = [*include, *(path for path in sys.path if (Path(path) / "picows").is_dir())]
        made = import_module("Cython.Build").cythonize(
            [extension], include_path=paths, build_dir=str(folder), language_level=3, quiet=True, force=True
        )
        command = tools.Distribution({"ext_modules": made}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder), str(folder)
        command.ensure_finalized()
        command.run()
    sys.path.insert(0, str(folder))
    return import_module(name)


@cache
def authority() -> Any:
    """A certificate authority of this process, and the certificate of its server."""
    from tests.authority import Authority

    folder = Path(_open.enter_context(tempfile.TemporaryDirectory()))
    made = Authority(folder)
    return made.ca, made.identity("localhost", "127.0.0.1")


def server(size: int, tls: bool) -> tuple[int, str, ssl.SSLContext | None]:
    """A blasting server: its port, its URL, and what a client of the standard library trusts."""
    if not tls:
        port = _open.enter_context(websocket_server.blasting(size))
        return port, f"ws://127.0.0.1:{port}/", None
    ca, identity = authority()
    port = _open.enter_context(websocket_server.blasting(size, str(identity.certificate), str(identity.key)))
    return port, f"wss://localhost:{port}/", ssl.create_default_context(cafile=str(ca))


def measured(work: Callable[[], int]) -> harness.Sample:
    """CPU time of the whole process while `work` takes so many messages."""
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    done = work()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return harness.Sample(done, cpu, {"k msg/s": done / wall * 1e6})


# -- ours --------------------------------------------------------------------------------------------------------------


def connected(size: int, tls: bool) -> tuple[Any, Any]:
    """A receiver whose line 0 is connected to a blasting server, and the framing of it."""
    from feedhandler import session
    from feedhandler.receive import stream

    port, _, _ = server(size, tls)
    sock = _open.enter_context(socket.create_connection(("127.0.0.1", port)))
    receiver, framing = stream.receiver(1), session.framing("websocket")
    if tls:
        from feedhandler.receive.tls import Tls

        channel = Tls("localhost", ca=str(authority()[0]))
        channel.handshake(sock, timeout=10)
        channel.write(load.REQUEST)
        receiver.connect(0, sock.fileno(), channel.read(), channel)
    else:
        sock.sendall(load.REQUEST)
        receiver.connect(0, sock.fileno(), sock.recv(4096))
    return receiver, framing


def ours(size: int, tls: bool, messages: int, handler: Callable[[bytes], None] | None = None) -> harness.Round:
    """A handler of frames, in C or in Python, on our receiver and framing."""
    module = built("websocket_ours")
    client = module.Client(*connected(size, tls))

    def take() -> int:
        before = client.messages
        wanted = before + messages
        if not (client.take(wanted) if handler is None else client.call(wanted, handler)):
            raise RuntimeError("the connection ended")
        return int(client.messages - before)

    return lambda: measured(take)


def public(size: int, tls: bool, messages: int) -> harness.Round:
    """`feedhandler.websocket`: batches of memoryviews."""
    client = import_module("feedhandler.websocket")
    _, url, _ = server(size, tls)
    options = {"ca": str(authority()[0])} if tls else {}
    connection = _open.enter_context(client.connect(url, **options))
    batches = iter(connection)

    def take() -> int:
        done = total = 0
        while done < messages:
            for message in next(batches):
                total += len(message)
                done += 1
        return done

    return lambda: measured(take)


# -- the others --------------------------------------------------------------------------------------------------------


def raw(size: int, messages: int) -> harness.Round:
    """recv_into without any framing: what a plain socket costs."""
    port, _, _ = server(size, False)
    sock = _open.enter_context(socket.create_connection(("127.0.0.1", port)))
    sock.sendall(load.REQUEST)
    buffer = bytearray(1 << 18)

    def take() -> int:
        left = messages * (size + 4)
        while left > 0:
            left -= sock.recv_into(buffer)
        return messages

    return lambda: measured(take)


def asynchronous(start: Awaitable[Callable[[int], Awaitable[int]]], messages: int) -> harness.Round:
    """A client of asyncio: `start` connects and gives what takes so many messages."""
    loop = asyncio.new_event_loop()
    take = loop.run_until_complete(start)
    return lambda: measured(lambda: loop.run_until_complete(take(messages)))


class Listening:
    """What a listener of picows in Python does: it looks at each text, as bytes."""

    messages = bytes = firsts = enough = 0
    done: Any = None

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        text = frame.get_payload_as_bytes()
        self.bytes += len(text)
        self.firsts += text[0]
        self.messages += 1
        if self.messages == self.enough:
            self.done.set_result(None)


def with_picows(size: int, tls: bool, messages: int, compiled: bool) -> harness.Round:
    """picows: a listener in Python or in Cython."""
    picows = import_module("picows")

    kind = built("websocket_picows").Listener if compiled else type("Listener", (Listening, picows.WSListener), {})

    async def start() -> Callable[[int], Awaitable[int]]:
        _, url, context = server(size, tls)
        _, listener = await picows.ws_connect(kind, url, ssl_context=context)

        async def take(count: int) -> int:
            before = int(listener.messages)
            listener.done = asyncio.get_running_loop().create_future()
            listener.enough = before + count
            await listener.done
            return int(listener.messages - before)

        return take

    return asynchronous(start(), messages)


def with_websockets(size: int, tls: bool, messages: int) -> harness.Round:
    """websockets: its client for asyncio, with its accelerations in C."""

    async def start() -> Callable[[int], Awaitable[int]]:
        client = import_module("websockets.asyncio.client")
        _, url, context = server(size, tls)
        connection = await client.connect(url, ssl=context, compression=None, max_size=None, ping_interval=None)

        async def take(count: int) -> int:
            for _ in range(count):
                await connection.recv()
            return count

        return take

    return asynchronous(start(), messages // 4)


def with_aiohttp(size: int, tls: bool, messages: int) -> harness.Round:
    """aiohttp: its client session."""

    async def start() -> Callable[[int], Awaitable[int]]:
        aiohttp = import_module("aiohttp")
        _, url, context = server(size, tls)
        session, loop = aiohttp.ClientSession(), asyncio.get_running_loop()
        _open.callback(lambda: loop.run_until_complete(session.close()))
        connection = await session.ws_connect(url, ssl=context or False, compress=0)

        async def take(count: int) -> int:
            for _ in range(count):
                await connection.receive()
            return count

        return take

    return asynchronous(start(), messages // 2)


def with_websocket_client(size: int, tls: bool, messages: int) -> harness.Round:
    """websocket-client, which blocks; its check of UTF-8, in pure Python, is skipped."""
    websocket = import_module("websocket")
    _, url, _ = server(size, tls)
    options = {"sslopt": {"ca_certs": str(authority()[0])}} if tls else {}
    connection = websocket.create_connection(url, skip_utf8_validation=True, **options)

    def take() -> int:
        for _ in range(messages // 8):
            connection.recv()
        return messages // 8

    return lambda: measured(take)


# -- the contests ------------------------------------------------------------------------------------------------------


class Counting:
    """A handler in Python that looks at each text."""

    bytes = firsts = 0

    def text(self, text: Any) -> None:
        self.bytes += len(text)
        self.firsts += text[0]


def contest(kind: str) -> harness.Contest:
    """All clients of one size, plain or over TLS."""
    size, tls = KINDS[kind]
    here = harness.Contest(f"websocket_{kind}", unit="message", floor=BASE, rounds=9, options={"messages": 400_000})
    cpu = websocket_server.CLIENT_CPU

    def enter(
        name: str,
        setup: Callable[..., harness.Round],
        package: str | None = None,
        **more: Any,
    ) -> None:
        enters = here.contestant(name, package=package, cpu=cpu)
        enters(lambda messages: setup(size, tls, messages, **more))

    if not tls:
        here.contestant("recv alone", cpu=cpu)(lambda messages: raw(size, messages))
    enter("feedhandler, handler in C", ours)
    enter("feedhandler, Python callback", ours, handler=Counting().text)
    enter("feedhandler.websocket, batches", public)
    enter("picows, Cython listener", with_picows, "picows", compiled=True)
    enter(BASE, with_picows, "picows", compiled=False)
    enter("aiohttp", with_aiohttp, "aiohttp")
    enter("websockets", with_websockets, "websockets")
    enter("websocket-client", with_websocket_client, "websocket-client")
    return here


plain_200, plain_1500, tls_200, tls_1500 = map(contest, KINDS)
parser = harness.Contest("websocket_parser", unit="frame", rounds=9, options={"messages": 2_000_000})


def in_memory(size: int, messages: int) -> harness.Round:
    """Our framing on a run of whole frames that lies in memory."""
    from feedhandler import session

    module, framing = built("websocket_ours"), session.framing("websocket")
    run = websocket_server.block(size)
    framing.begin_connection()
    each = len(run) // (size + 4)

    def work() -> int:
        texts, done = module.parse(framing, run, messages // each + 1)
        assert done == texts * size
        return int(texts)

    return lambda: measured(work)


for bytes_each in (200, 1500):
    parser.contestant(f"{bytes_each} bytes", cpu=websocket_server.CLIENT_CPU, size=bytes_each)(in_memory)

test_plain_200 = plain_200.test()
test_plain_1500 = plain_1500.test()
test_tls_200 = tls_200.test()
test_tls_1500 = tls_1500.test()
test_parser = parser.test()

if __name__ == "__main__":
    harness.main(dict(zip(KINDS, (plain_200, plain_1500, tls_200, tls_1500), strict=True)) | {"parser": parser})
