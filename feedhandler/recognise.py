"""Which protocol a stream of packets speaks, by trying each on its first packets."""

from collections.abc import Sequence

from feedhandler import decode, session
from feedhandler._instruments import Instruments


def recognise(payloads: Sequence[bytes], *, only: str | None = None, framing: str | None = None) -> str | None:
    """The name of the one protocol whose framing and message table fit the payloads; None if none or several do.

    A payload fits when the framing accepts it and every message in it is of a known type and at least as long as the
    table says; the protocol with most fitting payloads is the one. A packet without messages (a heartbeat) speaks only
    for its framing. `only` asks about that protocol alone, and then the framing is enough; `framing` takes the place of
    the protocols' own. WebSocket connections of JSON venues look all alike; they are known by their names.
    """
    fitting: dict[str, tuple[int, int]] = {}  # payloads with messages that fit, payloads that fit
    for protocol in decode.protocols().values():
        if protocol.name != only if only is not None else protocol.text is not None:
            continue
        machine = session.framing(framing or protocol.framing)
        found = [_messages(machine, payload) for payload in payloads]
        framed = [messages for messages in found if messages is not None]
        fit = [messages for messages in framed if only is not None or _speaks(protocol, messages)]
        if fit:
            fitting[protocol.name] = sum(map(bool, fit)), len(fit)
    best = [name for name, fits in fitting.items() if fits == max(fitting.values())]
    return best[0] if len(best) == 1 else None


def session_of(framing: str, payloads: Sequence[bytes]) -> bytes:
    """The session id in the first datagram that the framing accepts: 16 bytes, zero-padded; empty without one."""
    machine = session.framing(framing)
    for payload in payloads:
        for fields, _ in machine.feed(payload):
            if fields["kind"] != "bad":
                return bytes(fields["session"])
    return b""


def _messages(machine: session.Framing, payload: bytes) -> list[bytes] | None:
    """The messages in one payload; None when the framing refuses it."""
    frames = machine.feed(payload)
    if not frames or any(fields["kind"] == "bad" for fields, _ in frames):
        return None
    return [message for _, block in frames for message in block]


def _speaks(protocol: decode.Protocol, messages: Sequence[bytes]) -> bool:
    """Whether every message is of a known type and well-formed; an empty one says nothing."""
    decoder = decode.decoder(protocol.name, Instruments.standalone(2))
    return all(chr(message[0]) in protocol.by_type and decoder.accepts(message) for message in messages if message)
