"""An exchange in a box: a believable day of Nasdaq ITCH 5.0, written to files or served on the wire, and its faults."""

from feedhandler.simulate._exchange import Exchange
from feedhandler.simulate._snapshot import SnapshotSource
from feedhandler.simulate._store import MessageStore
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.files import write
from feedhandler.simulate.glimpse import GlimpseAnswerer, GlimpseServer
from feedhandler.simulate.market import Market
from feedhandler.simulate.multicast import MulticastSender
from feedhandler.simulate.requests import RequestAnswerer, RequestServer
from feedhandler.simulate.soup import SoupServer

__all__ = [
    "Exchange",
    "Faults",
    "GlimpseAnswerer",
    "GlimpseServer",
    "Market",
    "MessageStore",
    "MulticastSender",
    "RequestAnswerer",
    "RequestServer",
    "SnapshotSource",
    "SoupServer",
    "write",
]
