"""The rig of streams over TLS."""

from __future__ import annotations

import functools
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext

from feedhandler import simulate
from feedhandler.config import Line
from feedhandler.handler import Handler, play
from feedhandler.receive import stream
from feedhandler.receive.tls import Tls
from feedhandler.session.soupbintcp import login_request
from tests.authority import Authority
from tests.background import beside
from tests.conformance.feed import MARKET, Feed
from tests.conformance.files import Stream
from tests.conformance.rig import Flow, Sent
from tests.tls_pairs import Pairs, ServerEnd


@functools.cache
def trusted() -> tuple[Path, SSLContext]:
    """An authority's certificate, and a server's context under it, for the life of the process."""
    folder = tempfile.TemporaryDirectory()
    authority = Authority(Path(folder.name))
    context = authority.server_context()
    context.folder = folder  # type: ignore[attr-defined]  # goes with it
    return authority.ca, context


class StreamTls(Stream):
    """TCP under TLS 1.3, on this host."""

    name = "stream, TLS"

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self._receiver = self.stream = stream.receiver(len(flows))
        ca, context = trusted()
        self.tls = Pairs(context)
        self.ends: list[ServerEnd] = []
        for line in range(len(flows)):
            tls = Tls("localhost", ca=ca)
            client, end = self.tls.shake(tls)
            end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            assert self.stream.connect(line, client.fileno(), b"", tls)
            self.ends.append(end)

    tls: Pairs | None = None

    def send(self, sent: Sent, source: int = 0) -> None:
        for line, payload in sent:
            self.ends[line].send(payload)

    def end(self) -> None:
        self.stream.finish()
        for end in self.ends:
            end.goodbye()

    def close(self) -> None:
        super().close()
        if self.tls is not None:
            self.tls.close()
            self.tls = None

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        """The same day from a SoupBinTCP server, its bytes sealed on their way."""
        server = simulate.SoupServer()
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            whole = session(server.port)
        self.open([self.flow(0)])
        line = Line(name="A", host="127.0.0.1", port=1, username="user", password="secret")
        config = feed.config([])
        channel = replace(config.channels[0], session="soupbintcp", lines=(line,))
        config = replace(config, channels=(channel,))
        with Handler(config, receiver=self.stream, anonymous=True) as handler:

            def serve() -> None:
                self.send([(0, whole)])
                self.end()

            sender = threading.Thread(target=serve)
            sender.start()
            try:
                assert play(handler) is None
                yield handler
            finally:
                sender.join()


def session(port: int) -> bytes:
    """All that a SoupBinTCP server says to one who logs in, to its end of session."""
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as said:
        sock.sendall(login_request("user", "secret", "", 1, None))
        whole = b""
        parts = []
        while whole[2:3] != b"Z":
            head = said.read(2)
            whole = head + said.read(struct.unpack(">H", head)[0])
            parts.append(whole)
        return b"".join(parts)
