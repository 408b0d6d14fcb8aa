"""Lines that are WebSockets of a venue: dialled and subscribed on a thread of their own, then the hot thread's.

What is read before the hand-over (the response's head, the answers to our subscriptions, and whatever came with them)
is handed over as it came, so the hot thread sees each connection from its first byte.
"""

from __future__ import annotations

import abc
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

from feedhandler.decode.venue import Cause as Why
from feedhandler.decode.venue import Feed, Heard, Said, Venue
from feedhandler.errors import ConfigError, FeedError
from feedhandler.records import Cause, Connection
from feedhandler.recovery.pace import TokenBucket
from feedhandler.session import frames
from feedhandler.session._websocket import WebSocketFraming
from feedhandler.session.websocket import BrokenError, Dialled, Stage, Target, dial, socket_words
from feedhandler.session.websocket_signing import Signer, clock_ahead
from feedhandler.venue_config import host_and_port, where

if TYPE_CHECKING:
    from feedhandler.config import Channel, Line
    from feedhandler.receive.stream import StreamReceiver

__all__ = ["Attempt", "Confirmations", "VenueLine", "target_of"]

CONFIRM_S = 10.0  # for the answers to our subscriptions
LOOK_S = 0.05
GOODBYE_S = 1.0  # for the other side to answer a close
ROOM = 65_536  # of a run of bytes, for the last read before the hand-over

CAUSES = {
    Why.NETWORK: Cause.LOST,
    Why.PLANNED: Cause.RESTARTING,
    Why.SERVER: Cause.SERVER_ERROR,
    Why.RATE_LIMITED: Cause.RATE_LIMITED,
    Why.POLICY: Cause.POLICY,
    Why.AUTH_EXPIRED: Cause.AUTHENTICATION,
    Why.PROTOCOL: Cause.PROTOCOL,
    Why.REQUEST: Cause.REFUSED,
}

CLOSES = {1000: Cause.CLOSED, 1005: Cause.CLOSED, 1013: Cause.OVERLOADED}
"""Of closes that say the same whatever the venue (RFC 6455, section 7.4.1, and IANA's registry)."""
MEANT = (
    (re.compile(r"rate.?limit|too many|limit exceeded|throttl"), Cause.RATE_LIMITED),
    (re.compile(r"\bauth|unauthori[sz]ed|api.?key|signature|credential|log.?in|(session|token|listen.?key).{0,20}"
                r"(expired|invalid)|(expired|invalid).{0,20}(session|token|listen.?key)"), Cause.AUTHENTICATION),
    (re.compile(r"forbidden|not allowed|permission|banned|blocked|restricted"), Cause.POLICY),
)  # fmt: skip


def meant(reason: str) -> Cause | None:
    """What a venue's own words of a close or a refusal say, whatever its code; None: nothing we understand."""
    words = reason.lower()
    return next((cause for pattern, cause in MEANT if pattern.search(words)), None)


def closed(venue: Venue, code: int, reason: str, when: str = "") -> BrokenError:
    """A server's close."""
    said = f"the server closed{when} with {code}" + (f": {reason}" if reason else "")
    return BrokenError(said, meant(reason) or CLOSES.get(code) or CAUSES[venue.cause(code, reason)])


def target_of(venue: Venue, channel: Channel, line: Line) -> Target:
    """Where a configured line goes to."""
    url = venue.endpoint(line.url)
    return Target(
        url,
        host_and_port(line.address, where(url)[1]) if line.address else None,
        line.ca,
        line.certificate,
        line.key,
        venue.subprotocols,
        deflate=channel.deflate,
    )


class Confirmations:
    """What of our subscriptions has been confirmed: what an answer lists or names; of one that does neither, all."""

    def __init__(self, feed: Feed, texts: int) -> None:
        self._feed = feed
        self._pairs = set(product(feed.symbols, feed.streams))
        self._numbers = set(range(1, texts + 1))

    @property
    def done(self) -> bool:
        return not self._pairs

    @property
    def missing(self) -> str:
        """For people."""
        some = sorted(f"{symbol} {stream}" for symbol, stream in self._pairs)
        return ", ".join(some[:4]) + (f" and {len(some) - 4} more" if len(some) > 4 else "")

    def hear(self, said: Said) -> None:
        """Raises BrokenError for a refusal."""
        if said.what is Heard.REFUSED:
            about = " ".join((*said.symbols, said.stream)).strip()
            raise BrokenError(
                f"the venue refused {about or 'a subscription'}: {said.reason or 'no reason said'}",
                meant(said.reason) or Cause.REFUSED,
            )
        if said.what is not Heard.SUBSCRIBED:
            return
        if said.listed is not None:
            self._pairs -= set(said.listed)
        elif said.symbols:
            self._pairs -= set(product(said.symbols, (said.stream,) if said.stream else self._feed.streams))
        else:
            self._numbers.discard(said.request)
            if not said.request or not self._numbers:
                self._pairs.clear()


class Attempt(threading.Thread):
    """One connection on its way: dialled, then subscribed. `stage` and `error` say how far it has come."""

    def __init__(
        self, target: Target, venue: Venue, feed: Feed, session: bytes | None, room: int, signer: Signer
    ) -> None:
        super().__init__(name="feedhandler-dial", daemon=True)
        self.stage = Stage.REACHING
        self.error: BrokenError | None = None
        self.opened: Dialled | None = None
        self.confirmed = False
        """All that was asked for is confirmed; else there was no room to read until then."""
        self._target, self._venue, self._feed, self._session, self._room = target, venue, feed, session, room
        self._signer = signer
        self._ahead: float | None = None  # of our clock, s
        self._sock: socket.socket | None = None
        self._cancelled = False

    def run(self) -> None:
        try:
            self.opened = dial(self._target, session=self._session, progress=self._reached)
            self._subscribe(self.opened)
        except BrokenError as error:
            self.error = error
        except FeedError as error:  # a file, a name: wrong until somebody mends it
            self.error = BrokenError(str(error), Cause.TLS)
        except Exception as error:
            self.error = BrokenError(f"a fault of ours: {error!r}", Cause.LOST)
        if self.error is not None or self._cancelled:
            if self.opened is not None:
                self.opened.close()
            self.error = self.error or BrokenError("given up", Cause.STOPPED)
            return
        self.stage = Stage.READY

    def cancel(self) -> None:
        """End it, however far it has come. Returns at once."""
        self._cancelled = True
        sock = self._sock
        if sock is not None and self.stage is not Stage.READY:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        elif self.opened is not None:
            self.opened.close()

    def _reached(self, stage: Stage, sock: socket.socket) -> None:
        self.stage, self._sock = stage, sock
        if self._cancelled:
            raise BrokenError("given up", Cause.STOPPED)

    def _subscribe(self, opened: Dialled) -> None:
        """Say what we want, and hear the venue confirm it."""
        if self._signer.signs and where(opened.url) != where(self._target.url):  # what is a secret goes to nobody else
            raise BrokenError(f"redirected to {opened.url}, where no subscription is signed", Cause.HANDSHAKE)
        self._ahead = clock_ahead(opened.headers, self._signer.wall)
        self.stage = Stage.AUTHENTICATING if self._signer.signs else Stage.SUBSCRIBING
        texts = self._venue.subscribe(self._feed)
        confirmed, ears = Confirmations(self._feed, len(texts)), WebSocketFraming()
        self._hear(confirmed, ears, opened.received)
        limits = self._venue.limits
        for number, text in enumerate(texts, 1):
            opened.send(frames.text(self._signed(text)))
            if limits.messages and number % limits.messages == 0 and number < len(texts):
                pause = time.monotonic() + limits.messages_s
                self._listen(opened, ears, confirmed, pause)
                self._sit_out(pause)
        end = time.monotonic() + CONFIRM_S
        self._listen(opened, ears, confirmed, end)
        if not confirmed.done and len(opened.received) <= self._room:
            raise BrokenError(f"not confirmed within {CONFIRM_S:g} s: {confirmed.missing}", Cause.TIMEOUT)
        self.confirmed = confirmed.done

    def _signed(self, text: str) -> str:
        try:
            return self._signer.signed(text)
        except ConfigError as error:
            raise BrokenError(str(error), Cause.AUTHENTICATION) from None

    def _listen(self, opened: Dialled, ears: WebSocketFraming, confirmed: Confirmations, end: float) -> None:
        """Until all is confirmed, or then, or no more may be read here."""
        while not confirmed.done and len(opened.received) <= self._room and (now := time.monotonic()) < end:
            if self._cancelled:
                raise BrokenError("given up", Cause.STOPPED)
            data = opened.receive(min(LOOK_S, end - now))
            if data is not None:
                self._hear(confirmed, ears, data)

    def _sit_out(self, end: float) -> None:
        """What is left of a pause where no more may be read here: the venue's limit of messages holds all the same."""
        while (left := end - time.monotonic()) > 0:
            if self._cancelled:
                raise BrokenError("given up", Cause.STOPPED)
            time.sleep(min(LOOK_S, left))

    def _hear(self, confirmed: Confirmations, ears: WebSocketFraming, data: bytes) -> None:
        for fields, texts in ears.feed(data):
            if fields["kind"] == "end":
                error = closed(self._venue, ears.close_code, ears.close_reason, " instead of confirming")
                raise self._signer.refused(error, self._ahead)
            if fields["kind"] == "bad":
                raise BrokenError("the server's frames break a rule of the protocol", Cause.PROTOCOL)
            for text in texts:
                said = self._venue.heard(text)
                if said is None:
                    continue
                try:
                    confirmed.hear(said)
                except BrokenError as error:
                    raise self._signer.refused(error, self._ahead) from None
                if said.what is Heard.SUBSCRIBED:
                    self.stage = Stage.SUBSCRIBING


class VenueLine(abc.ABC):
    """What the life of a line knows of it and does to it (`websocket_life.Link`), on a StreamReceiver.

    `index` is the line's number within its channel, `number` the receiver's. `answering`: the hot thread parses what it
    receives, and sends what the framing answers.
    """

    def __init__(
        self,
        number: int,
        index: int,
        channel: Channel,
        receiver: StreamReceiver,
        framing: WebSocketFraming,
        venue: Venue,
        feed: Feed,
        *,
        answering: bool = True,
    ) -> None:
        self.number, self.index, self.channel, self.config = number, index, channel, channel.lines[index]
        self.receiver, self.framing, self.venue, self.feed = receiver, framing, venue, feed
        receiver.answer_with(number, framing.replies if answering else None)  # before the hot thread polls
        self.connections = 0
        """That the line has had before the one that was handed over last."""
        self._target = target_of(venue, channel, self.config)
        self._signer = Signer(venue, feed, channel.credentials, channel.name)
        self.unsigned = ""
        """Why the last subscription that was to be made anew could not be signed; "" = it could."""
        self._attempt: Attempt | None = None
        self._opened: Dialled | None = None
        self._session: bytes | None = None
        self._hang_up_at = 0.0  # time.monotonic(); 0 = it is not to end
        self._replace = False
        self._number = 0  # of our messages on this connection
        self._messages: TokenBucket | None = None  # that it may have
        self._confirmed = False
        self.state = Connection.DISCONNECTED
        self.door: Callable[[str, Venue, float], bool] = lambda url, venue, now: True
        """Whether a connection may be attempted now."""
        self.told: Callable[[Connection, Connection, Cause], None] = lambda before, state, cause: None
        """Who hears of transitions."""

    # -- the way up ------------------------------------------------------------------------------------------------

    def may_dial(self, now: float) -> bool:
        return self.door(self._target.url, self.venue, now)

    def dial(self) -> None:
        room = self.receiver.buffer_bytes - ROOM
        self._attempt = Attempt(self._target, self.venue, self.feed, self._session, room, self._signer)
        self._attempt.start()

    def dialled(self) -> Stage:
        assert self._attempt is not None
        if self._attempt.error is not None:
            raise self._attempt.error
        return self._attempt.stage

    def cancel(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None

    def takes_over(self) -> bool:
        return False

    def announced(self) -> bool:
        return False

    def hand_over(self) -> bool:
        assert self._attempt is not None and self._attempt.opened is not None
        opened = self._attempt.opened
        before = int(self.receiver.line_status(self.number)["connections"])
        try:
            self.prepare(opened.sock)
            if not self.receiver.connect(self.number, opened.sock.fileno(), opened.received, opened.tls):
                return False
        except (OSError, ValueError) as error:
            raise BrokenError(f"the connection cannot be handed over: {error}", Cause.LOST) from error
        self.connections = before
        if self._opened is not None:
            self._opened.sock.close()
        self._opened, self._confirmed, self._attempt = opened, self._attempt.confirmed, None
        self._hang_up_at, self._replace, self.unsigned = 0.0, False, ""
        self._number = len(self.venue.subscribe(self.feed))
        limits = self.venue.limits
        if limits.messages:
            self._messages = TokenBucket(limits.messages / limits.messages_s, float(limits.messages))
            self._messages.take(time.monotonic(), float(self._number))
        return True

    # -- while it is up --------------------------------------------------------------------------------------------

    def down(self) -> bool:
        status = self.receiver.line_status(self.number)
        return bool(status["connections"] > self.connections and status["state"] == 0)

    def taken(self) -> bool:
        """The hot thread has taken the connection handed over last."""
        return bool(self.receiver.line_status(self.number)["connections"] > self.connections)

    def ending(self) -> BrokenError:
        """Why the connection ended: the server's close, a rule that it broke, or the network."""
        made = self.framing
        if made.violation:
            cause = Cause.TOO_BIG if "max_message_bytes" in made.violation else Cause.PROTOCOL
            return BrokenError(f"closed by us: {made.violation}", cause)
        if made.close_code:
            return self._signer.refused(closed(self.venue, made.close_code, made.close_reason), None)
        error = int(self.receiver.line_status(self.number)["error"])
        words = f": {socket_words(error)}" if error else ", without a close"
        return BrokenError(f"the connection broke{words}", CAUSES[self.venue.cause(1006)])

    def received(self) -> int:
        return int(self.receiver.counts(self.number)["packets"])

    def replace_wanted(self) -> bool:
        return self._replace

    def replace_soon(self) -> None:
        """The venue asks for a new connection."""
        self._replace = True

    def ping(self) -> None:
        self.send(frames.ping(b"feedhandler"))

    def ask(self) -> None:
        if self.venue.heartbeat.ask:
            self.say(self.venue.heartbeat.ask)

    def say(self, *texts: str) -> bool:
        """Send texts on the connection that is up."""
        return all(self.send(frames.text(text)) for text in texts)

    def resubscribe(self, symbols: tuple[str, ...]) -> bool:
        """Have the books of these symbols begun again, on the connection that is up."""
        if self._opened is None or self.down() or self._hang_up_at:
            return False
        for symbol in symbols:
            texts = self.venue.resubscribe(self.feed, symbol, self._number + 1)
            if self._messages is not None and not self._messages.take(time.monotonic(), float(len(texts))):
                return False
            try:
                signed = [self._signer.signed(text) for text in texts]
            except ConfigError as error:
                self.unsigned = str(error)
                return False
            self.unsigned = ""
            self._number += len(texts)
            if not self.say(*signed):
                return False
        return True

    def send(self, data: bytes) -> bool:
        """Have frames sent; False: no room now."""
        return self.receiver.send(self.number, data)

    def serves(self) -> bool:
        return self._confirmed or self.whole()

    def tell(self, before: Connection, state: Connection, cause: Cause, words: str) -> None:
        self.state = state
        self.told(before, state, cause)

    def close(self, code: int, reason: str) -> None:
        if self._opened is not None and not self._hang_up_at:
            self.framing.closing()  # the server's answer to it is not answered
            self.send(frames.close(code, reason))
            self._hang_up_at = time.monotonic() + GOODBYE_S
            if self.state is Connection.DEAD:
                self._opened.hang_up()

    def hang_up(self) -> None:
        """End the connection that is up, without a word."""
        if self._opened is not None:
            self._opened.hang_up()

    def tend(self, now: float) -> None:
        """End what the other side has not ended in time; `now` is time.monotonic()."""
        if self._opened is None or self.down() or not self.taken():
            return
        if not self._hang_up_at and (self.framing.violation or self.framing.close_code):
            self._hang_up_at = now + GOODBYE_S  # our answer is on its way
        if self._hang_up_at and now >= self._hang_up_at:
            self._opened.hang_up()
        elif self._session is None and self._opened.tls is not None:
            self._session = self._opened.tls.session

    def release(self) -> None:
        """Nothing more will be done with it."""
        self.cancel()
        if self._opened is not None:
            self._opened.close()

    # -- what differs between handler and recorder -----------------------------------------------------------------

    @abc.abstractmethod
    def prepare(self, sock: socket.socket) -> None:
        """What is to be done before the hot thread gets this connection; the line is down, or announced()."""

    @abc.abstractmethod
    def whole(self) -> bool:
        """All books that the line is to bring are."""
