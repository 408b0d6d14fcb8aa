"""What stands beside the lines of a simulated venue: a request server and a snapshot server, fed by the sender."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from feedhandler.errors import FeedError
from feedhandler.simulate._snapshot import SnapshotSource
from feedhandler.simulate._store import MessageStore, Tap
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.glimpse import GlimpseServer
from feedhandler.simulate.requests import RequestServer

KEPT = 1 << 24  # messages, where nobody says how many there will be


class Venue:
    """The servers of one session, in threads of their own while the block runs.

    `requests`, `glimpse`: ports on loopback, 0 for free ones, None for no such server. `taps` is for the sender.
    `messages`: how many the request server keeps. What the servers do wrong is in `faults`.
    """

    def __init__(
        self,
        requests: int | None,
        glimpse: int | None,
        *,
        session: str = "SIMULATED",
        faults: Faults | None = None,
        seed: int = 1,
        messages: int = KEPT,
    ) -> None:
        faults = faults or Faults()
        self.taps: list[Tap] = []
        self.servers: dict[str, RequestServer | GlimpseServer] = {}
        try:
            if requests is not None:
                store = MessageStore(messages)
                self.taps.append(store)
                self.servers["requests"] = RequestServer(
                    store, port=requests, session=session, faults=faults.requests, seed=seed
                )
            if glimpse is not None:
                source = SnapshotSource()
                self.taps.append(source)
                self.servers["glimpse"] = GlimpseServer(
                    source, port=glimpse, session=session, faults=faults.glimpse, seed=seed
                )
        except FeedError:
            self.close()
            raise

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the servers."""
        for server in self.servers.values():
            server.close()

    def places(self) -> str:
        """Where the servers are, for people: requests on 127.0.0.1:26410, …"""
        return ", ".join(f"{name} on 127.0.0.1:{server.port}" for name, server in self.servers.items())

    @property
    def stats(self) -> dict[str, Any]:
        """By server: its port and its counts."""
        return {name: {"port": server.port, **server.stats} for name, server in self.servers.items()}
