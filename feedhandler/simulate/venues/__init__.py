"""Crypto venues on loopback, for tests and the demo: WebSocket over TLS, REST, and whatever goes wrong with them.

with serve("binance", ["BTCUSDT", "ETHUSDT"]) as venue:
    venue.url, venue.rest, venue.ca, venue.symbols       # for a handler's configuration
    books = venue.pause()                                 # what every follower must have now
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from feedhandler.errors import ConfigError
from feedhandler.simulate.venues.faults import Limits, VenueFault, VenueFaults

if TYPE_CHECKING:
    from feedhandler.simulate.venues.server import VenueServer

__all__ = ["NAMES", "Limits", "VenueFault", "VenueFaults", "serve"]
NAMES = ("binance", "binance_usdm", "coinbase", "kraken", "bitstamp")


def serve(venue: str, symbols: Sequence[str] | None = None, **options: Any) -> VenueServer:
    """A simulated venue, to be used in a `with` block; while it runs it trades.

    `symbols`: what it trades; None for all it knows; those it does not know trade like the first. `seed`: the same
    seed, the same flow and the same faults. `rate`: what happens a second, over all symbols (0: only what `step()` is
    told). `levels`: of each side, about. `batch_ms`: instead of the venue's own time between two batched updates.
    `logs`: recorded logs to play instead, from the first subscription on, at `speed` times their own pace (0: as fast
    as it goes). `beat_s`, `ping_s`: between heartbeats and pings. `faults`: a VenueFaults. `compress`: whether
    permessage-deflate is agreed to. `tls`: False serves ws:// and http://. `port`, `rest_port`: 0 for free ones.
    `addresses`: of loopback, the same port on each. `folder`: where the test certificates are written, and stay; None:
    a temporary one. `credentials`: of its one customer, by name (Coinbase: key, secret, passphrase); then subscriptions
    that must be signed and are not, and all that are signed wrongly, are refused.

    Raises ConfigError for what cannot be, or where a package of the extra [simulate] is missing; BackendError where it
    cannot listen.
    """
    try:
        from feedhandler.simulate.venues.server import VenueServer
    except ImportError as error:
        raise ConfigError(
            f"simulate: a venue needs the package {error.name}: pip install 'feedhandler[simulate]'"
        ) from None
    return VenueServer(venue, symbols, **options)
