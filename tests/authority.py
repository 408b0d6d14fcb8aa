"""A certificate authority for tests: it vouches for servers and clients on this machine, rightly or wrongly."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from feedhandler.simulate.venues import authority
from feedhandler.simulate.venues.authority import Identity

DAY = datetime.timedelta(days=1)


class Authority:
    """A simulated venue's authority, that makes as many certificates as are asked for, good ones and bad ones."""

    def __init__(self, folder: Path, name: str = "feedhandler test authority") -> None:
        self._authority = authority.Authority(folder, name)
        self.ca = self._authority.ca
        self._made = 0

    def identity(
        self, *names: str, expired: bool = False, early: bool = False, client: bool = False, alternatives: bool = True
    ) -> Identity:
        """A certificate for these names and IP addresses (default: localhost and both of its addresses).

        `expired`: it ran out yesterday. `early`: it begins tomorrow. `client`: of use to a client, not to a server.
        `alternatives` False: the name is in the subject only, as thirty years ago.
        """
        self._made += 1
        return self._authority.identity(
            names or ("localhost", "127.0.0.1", "::1"),
            str(self._made),
            (-9 * DAY, -DAY) if expired else (DAY, 9 * DAY) if early else authority.VALID,
            client=client,
            alternatives=alternatives,
        )

    def server_context(self, identity: Identity | None = None, *, clients: bool = False) -> ssl.SSLContext:
        """For a server of the standard library; `clients`: it wants a certificate of its clients, by this authority."""
        identity = identity or self.identity()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


def client_context(ca: Path | str) -> ssl.SSLContext:
    """For a client of `websockets.sync`, which reads on one thread while it writes on another.

    Up to TLS 1.2 only: in 1.3 the session tickets come behind the handshake, and where one is read while the request is
    written, nothing goes out (Python before 3.13 has no lock around an SSL object) and the client waits for ever.
    """
    context = ssl.create_default_context(cafile=str(ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
