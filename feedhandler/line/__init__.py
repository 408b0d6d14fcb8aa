"""What happens to sequence numbers: many lines in, each message once and in order out."""

from feedhandler.line._arbiter import Arbiter

__all__ = ["Arbiter"]
