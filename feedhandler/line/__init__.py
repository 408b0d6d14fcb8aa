"""What happens to sequence numbers: many lines in, each message once and in order out."""

from feedhandler.line._door import Arbiter

__all__ = ["Arbiter"]
