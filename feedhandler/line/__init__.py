"""What happens to sequence numbers: many lines in, each message once and in order out."""

from feedhandler.line._door import Arbiter
from feedhandler.line._recovery import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Ask, Recovery

__all__ = ["ASK_MISSING", "ASK_OVER", "ASK_SNAPSHOT", "Arbiter", "Ask", "Recovery"]
