"""Pairs of a TLS client of ours and a server of the standard library, whose records the test sends as it likes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedhandler.receive.tls import Tls
from tests.authority import Authority


@pytest.fixture(params=["", "openssl"], ids=["gcm", "gcm of OpenSSL"])
def either_gcm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs twice: with the AES-GCM that is found here, Intel's or OpenSSL's, and with OpenSSL's."""
    monkeypatch.setenv("FEEDHANDLER_GCM", request.param)


class ServerEnd:
    """The server's side: OpenSSL on memory, so that each ciphertext byte is the test's to send, cut or spoil."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)

    def turn(self, act: Callable[[], Any]) -> Any:
        """Do something of TLS, with as many bytes of the socket as it needs; what it says is sent."""
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self.flush()
                got = self.sock.recv(65536)
                if not got:
                    self._in.write_eof()
                self._in.write(got)
            finally:
                self.flush()

    def flush(self) -> None:
        waiting = self._out.read()
        if waiting:
            self.sock.sendall(waiting)

    def sealed(self, data: bytes) -> bytes:
        """The record of these plain bytes, not sent."""
        self.tls.write(data)
        return self._out.read()

    def send(self, data: bytes) -> None:
        """One record for each 16 KiB."""
        for at in range(0, len(data), 16384):
            self.sock.sendall(self.sealed(data[at : at + 16384]))

    def read(self, size: int = 65536) -> bytes:
        return bytes(self.turn(lambda: self.tls.read(size)))

    def goodbye(self) -> None:
        """close_notify, and the end of the stream; the client's own is not waited for."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)


class Pairs:
    """Connected pairs; all sockets are closed when it is."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._open: list[socket.socket] = []

    def raw(self) -> tuple[socket.socket, socket.socket]:
        """A connection over loopback: the client's socket and the server's."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            there, _ = listener.accept()
        there.settimeout(10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open += [client, there]
        return client, there

    def shake(self, tls: Tls, context: ssl.SSLContext | None = None) -> tuple[socket.socket, ServerEnd]:
        """Both handshakes at once. Raises what the client's raised; the server's failure then goes without saying."""
        client, there = self.raw()
        end = ServerEnd(there, context or self.context)
        failed: list[BaseException] = []

        def serve() -> None:
            try:
                end.turn(end.tls.do_handshake)
            except (ssl.SSLError, OSError) as error:
                failed.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            tls.handshake(client, 10)
        except BaseException:
            client.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            thread.join()
        if failed:
            raise failed[0]
        return client, end

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def pairs(authority: Authority) -> Iterator[Pairs]:
    made = Pairs(authority.server_context())
    yield made
    made.close()
