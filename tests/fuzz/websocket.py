"""Bytes of a WebSocket server into frames, texts and events; the client in plain Python must be our client's equal."""

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder, protocols
from feedhandler.session import frames
from tests.fuzz.engine import Target, ViolationError
from tests.fuzz.packets import Wire, pack, parse
from tests.websocket_cases import cases
from tests.websocket_story import Model, begin, client, ours

AGREED = ("", "permessage-deflate", "permessage-deflate; server_no_context_takeover")
CAPACITY = 8  # instruments, the unused 0 included
DEPTH = '{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["100.10","0.5"],["99","0"]],"a":[["101e0","1"]]}'
BOOK = '[1,{"as":[["1.10","2","1.5"]],"bs":[["1.00","2","1.5"]]},"book-10","XBT/USD"]'
LEVELS = '{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1.0","2"]],"time":"2024-01-01T00:00:00.000000Z"}'
DIFF = '{"event":"data","channel":"diff_order_book_btcusd","data":{"microtimestamp":"1","bids":[["1","2"]],"asks":[]}}'


def websocket_target() -> Target:
    """The line of the first packet says what was agreed on; all packets are the stream, cut as they are."""
    return Target("websocket.model", _run, seeds())


def _run(raw: bytes) -> None:
    wires = parse(raw)
    if not wires or b"".join(w.data for w in wires)[:1] == b"H":  # a response head: framing.websocket has those
        return
    agreed = AGREED[wires[0].line % len(AGREED)]
    machine = client(max_message_bytes=100_000)
    begin(machine, agreed)
    mine, _ = ours(machine, [w.data for w in wires])
    plain = Model(agreed, max_message_bytes=100_000).read(b"".join(w.data for w in wires))
    if mine != plain:
        raise ViolationError(f"client and model agree: {mine} {mine.cause}, plain {plain}")
    texts = [payload for kind, payload in mine.events if kind == "text"]
    for name, found in protocols().items():
        if found.framing == "websocket":
            machine_of = decoder(name, Instruments.standalone(CAPACITY - 1))
            for text in texts:
                machine_of.decode_bytes([text])


def seeds() -> list[bytes]:
    """Texts of each venue, whole, in fragments and compressed; and some of the cases."""
    texts = (DEPTH, BOOK, LEVELS, DIFF)
    whole = [Wire(frames.text(text, masked=False)) for text in texts]
    cut = [Wire(part) for text in texts for part in (frames.frame(1, text[:20], fin=False, masked=False),
                                                     frames.frame(0, text[20:], masked=False))]  # fmt: skip
    sender = frames.Deflate(frames.Agreement())
    squeezed = [Wire(sender.frame(text, masked=False), line=1) for text in texts]
    some = [Wire(case.server, line=AGREED.index(case.agreed)) for case in cases()
            if case.agreed in AGREED and not case.options and 0 < len(case.server) < 200][::12]  # fmt: skip
    return [pack(whole), pack(cut), pack(squeezed), *(pack([one]) for one in some)]
