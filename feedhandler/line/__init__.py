"""What happens to sequence numbers: many lines in, each message once and in order out."""

from feedhandler.line._door import Arbiter
from feedhandler.line._recovery import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Ask, Recovery
from feedhandler.line._resyncs import Resync, Resyncs
from feedhandler.line._splicer import Splicer

__all__ = ["ASK_MISSING", "ASK_OVER", "ASK_SNAPSHOT", "Arbiter", "Ask", "Recovery", "Resync", "Resyncs", "Splicer"]
