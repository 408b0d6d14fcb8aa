"""An exchange in a box: a believable day of Nasdaq ITCH 5.0, written to files or served on the wire."""

from feedhandler.simulate._exchange import Exchange
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.files import write
from feedhandler.simulate.market import Market
from feedhandler.simulate.multicast import MulticastSender
from feedhandler.simulate.replay import Replayer
from feedhandler.simulate.soup import SoupServer

__all__ = ["Exchange", "Faults", "Market", "MulticastSender", "Replayer", "SoupServer", "write"]
