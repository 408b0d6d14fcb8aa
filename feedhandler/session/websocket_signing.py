"""Signed subscriptions: what a channel says to a venue that asks who we are, and what its refusal means.

How a venue signs is its folder's (`Venue.sign`); here is when, with what, and what people are told.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from feedhandler.credentials import Credentials, Secret, Sources, read
from feedhandler.decode.venue import Feed, Venue, venue
from feedhandler.errors import ConfigError
from feedhandler.records import Cause
from feedhandler.session.websocket import BrokenError

if TYPE_CHECKING:
    from feedhandler.config import Channel

__all__ = ["Signer", "clock_ahead"]

CLOCK = re.compile(
    r"timestamp|expired|clock", re.IGNORECASE
)  # a venue's words of a signature that is too old, or too new
AHEAD_S = 5.0  # what the second of a Date header and the way of an answer explain


class Signer:
    """Signs the texts of one channel, each at its own time, with credentials that are read anew for it.

    `sources` None: nothing is signed. Raises ConfigError where what is configured cannot sign.
    """

    def __init__(
        self,
        venue: Venue,
        feed: Feed,
        sources: Sources | None = None,
        channel: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.wall = wall
        self._venue, self._feed, self._sources, self._channel = venue, feed, sources, channel
        self._read = Credentials()
        self._before = Credentials()  # they changed: a connection that was signed with these may be up
        for text in venue.subscribe(feed) if sources is not None else ():
            self.signed(text)

    @classmethod
    def of(cls, channel: Channel) -> Self:
        """Of a configured channel."""
        known = venue(channel.protocol)
        return cls(
            known, known.feed(channel.symbols, channel.streams, channel.depth), channel.credentials, channel.name
        )

    @property
    def signs(self) -> bool:
        return self._sources is not None

    def signed(self, text: str) -> str:
        """A text of ours as it is to be sent now. Raises ConfigError."""
        if self._sources is None:
            return text
        try:
            now = read(self._sources, self._venue.credentials)
            if now != self._read:
                self._before, self._read = self._read, now
            return Secret(self._venue.sign(text, now, self.wall()))
        except ConfigError as error:
            raise ConfigError(f"channel {self._channel}: {error}") from None

    def hidden(self, sentence: str) -> str:
        """A sentence of the venue's without our credentials, should it repeat them."""
        return self._before.hidden(self._read.hidden(sentence))

    def refused(self, error: BrokenError, ahead: float | None) -> BrokenError:
        """The venue's refusal with what can be done about it; `ahead`: of our clock, s, where that is known."""
        sentence = self.hidden(str(error))
        if error.cause is Cause.AUTHENTICATION:
            sentence += self._advice(sentence, ahead)
        return BrokenError(sentence, error.cause, error.retry_s, error.status)

    def _advice(self, sentence: str, ahead: float | None) -> str:
        known = self._venue
        if self._sources is None:
            if not known.credentials:
                return ""
            asked = [stream for stream in self._feed.streams if stream in known.signed]
            free = [stream for stream in known.books if stream not in known.signed]
            other = f", or take {free[0]} for {asked[0]}, which needs none" if asked and free else ""
            return f"; give the channel [channel.credentials] with {', '.join(known.credentials)}{other}"
        if CLOCK.search(sentence):
            if ahead is None:
                now = datetime.datetime.fromtimestamp(self.wall(), datetime.UTC)
                return f"; is our clock right? It says {now:%Y-%m-%d %H:%M:%S} UTC"
            if abs(ahead) > AHEAD_S:
                where = "ahead of" if ahead > 0 else "behind"
                return f"; our clock is {abs(ahead):.0f} s {where} the venue's: set it right (feedhandler doctor)"
        return f"; signed with {self._sources.told(known.credentials)}"


def clock_ahead(headers: Mapping[str, str], wall: Callable[[], float]) -> float | None:
    """Seconds that our clock is ahead of a server's, by the Date header of an answer that has just come; None: none."""
    try:
        return wall() - email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None
