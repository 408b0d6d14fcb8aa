"""What the simulator's servers share: a thread of their own, a socket, and a way to end."""

from __future__ import annotations

import abc
import threading
from typing import Self

TURN_S = 0.05  # the longest wait: how soon stop() is noticed


class Server(abc.ABC):
    """A server that runs until stop(): in the caller's thread by run(), in its own by start() or `with`.

    Used once.
    """

    port: int

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until stop()."""
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()

    def start(self) -> Self:
        """Serve in a thread; returns at once."""
        self._thread = threading.Thread(target=self.run, name=type(self).__name__, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End soon. From any thread or a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait until the thread has ended and the port is free."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        else:
            self._close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def _turn(self) -> None:
        """Serve whoever is there, or wait at most TURN_S."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Give back the sockets; twice is harmless."""
