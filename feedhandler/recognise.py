"""Which protocol a stream of packets speaks, by trying each on its first packets."""

from collections.abc import Sequence

from feedhandler import decode, session
from feedhandler._instruments import Instruments


def recognise(payloads: Sequence[bytes], *, only: str | None = None, framing: str | None = None) -> str | None:
    """The name of the one protocol whose framing and message table fit the payloads; None if none or several do.

    A protocol fits when its framing accepts every payload and every message in them is of a known type and at least as
    long as the table says. Packets without messages (heartbeats) speak only for their framing. `only` asks about that
    protocol alone, and then the framing is enough; `framing` takes the place of the protocols' own.
    """
    fitting = {}
    for protocol in decode.protocols().values():
        if only is not None and protocol.name != only:
            continue
        machine = session.framing(framing or protocol.framing)
        messages: list[bytes] = []
        for payload in payloads:
            frames = machine.feed(payload)
            if not frames or any(fields["kind"] == "bad" for fields, _ in frames):
                break
            messages += [message for _, block in frames for message in block]
        else:
            if only is not None or _speaks(protocol, messages):
                fitting[protocol.name] = bool(messages)
    spoken = [name for name, any_messages in fitting.items() if any_messages] or list(fitting)
    return spoken[0] if len(spoken) == 1 else None


def session_of(framing: str, payload: bytes) -> bytes:
    """The session id in a datagram, 16 bytes, zero-padded; empty when the framing refuses it."""
    frames = session.framing(framing).feed(payload)
    return bytes(frames[0][0]["session"]) if frames else b""


def _speaks(protocol: decode.Protocol, messages: Sequence[bytes]) -> bool:
    """Whether every message is of a known type and well-formed; an empty one says nothing."""
    decoder = decode.decoder(protocol.name, Instruments.standalone(2))
    return all(chr(message[0]) in protocol.by_type and decoder.accepts(message) for message in messages if message)
