"""A recording lived again: onto the wire, to TCP clients, or into a handler, at any pace, its error told.

WireReplay      packets onto multicast lines, as they were, or re-packed
HandlerReplay   packets into a handler, through the code that runs live
messages()      each message once, for a SoupBinTCP server
"""

from feedhandler.replay.into import HandlerReplay
from feedhandler.replay.messages import Messages, messages
from feedhandler.replay.pacing import PacingReport
from feedhandler.replay.rewrite import Rewrite
from feedhandler.replay.source import Choice, Source
from feedhandler.replay.steps import Steps
from feedhandler.replay.wire import WireReplay

__all__ = [
    "Choice",
    "HandlerReplay",
    "Messages",
    "PacingReport",
    "Rewrite",
    "Source",
    "Steps",
    "WireReplay",
    "messages",
]
