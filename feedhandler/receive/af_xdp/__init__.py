"""AF_XDP: UDP payloads from the driver's receive queues, past the kernel's network stack.

Nothing to install: the filter is assembled at run time, everything else is system calls. `subscribe` gives the payloads
of one multicast group in Python; `receiver` is the backend of the handler.
"""

from feedhandler.receive._af_xdp import AfXdpReceiver
from feedhandler.receive.af_xdp.setup import Options, receiver
from feedhandler.receive.af_xdp.subscription import Subscription, subscribe

__all__ = ["AfXdpReceiver", "Options", "Subscription", "receiver", "subscribe"]
