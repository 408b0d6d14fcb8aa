from typing import Any

def take_lock(fd: int) -> bool:
    """True when this open file now holds the writer's lock."""

def release_lock(fd: int) -> None:
    """Give the writer's lock up."""

def lock_held(fd: int) -> bool:
    """Whether another open file of the same file holds the writer's lock."""

class WakeLoop:
    """Wakes sleeping readers when a ring's head has moved."""

    def __init__(self, memory: Any, wake_us: int = 50) -> None: ...
    def run(self) -> None:
        """Look at the heads every `wake_us` until stop()."""
    def stop(self) -> None:
        """End run(), from any thread."""
    def wake(self) -> None:
        """Wake all sleeping readers now."""
