"""A thread beside the hot one, from start() to stop()."""

import abc
import threading


class ControlThread(abc.ABC):
    """Does `_run` on a thread of its own; `_run` ends soon once `_stopping` is set."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abc.abstractmethod
    def _run(self) -> None: ...

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until it has. Stopping twice, or what never began, is harmless."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
