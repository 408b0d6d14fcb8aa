"""Work that goes on while a test looks on."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(work: Callable[[], None], stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Do `work` in a thread while the block runs; what it raises is raised at the end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
    if raised:
        raise raised[0]
