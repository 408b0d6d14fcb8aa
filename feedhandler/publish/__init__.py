"""The writer's end: segments in shared memory, what is published into them, and waking who waits."""

from feedhandler.publish._publisher import Publisher
from feedhandler.publish.segment import Segment
from feedhandler.publish.waker import Waker

__all__ = ["Publisher", "Segment", "Waker"]
