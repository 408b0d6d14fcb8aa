def counted() -> bool:
    """Whether allocations are counted in this process: this file was preloaded."""

def so_far() -> int:
    """The allocations of this thread since it began."""
