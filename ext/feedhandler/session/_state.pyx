"""What the framing of a stream holds between two runs of bytes, and back: for snapshots, off the hot path.

Of a WebSocket whose messages are compressed that is the inflater's window, and of no compressed message that is under way:
what zlib knows in the middle of a block it tells nobody. `settled()` says where there is none.
"""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from feedhandler.session._binaryfile cimport BinaryFileFraming
from feedhandler.session._framing cimport Framing
from feedhandler.session._soupbintcp cimport SoupBinTcpFraming
from feedhandler.session._stitch cimport FH_BLOCK_MAX, fh_stitch, fh_stitch_clear
from feedhandler.session._websocket cimport (FH_INFLATE_WINDOW, FH_WS_BINARY, FH_WS_CAUSES, FH_WS_CLOSE, FH_WS_CONTROL_MAX, FH_WS_END,
                                             FH_WS_FAILED, FH_WS_HEAD_MAX, FH_WS_HEADER, FH_WS_HEADER_MAX, FH_WS_IN_HEAD,
                                             FH_WS_PAYLOAD, FH_WS_PONG, WebSocketFraming, fh_inflate_resume,
                                             fh_inflate_window, fh_ws, fh_ws_first_two, fh_ws_header_bytes)


def settled(Framing framing not None):
    """Is no compressed message under way? Only then can the framing be dumped."""
    return not (isinstance(framing, WebSocketFraming) and _amid(&(<WebSocketFraming> framing).ws))


def dump(Framing framing not None):
    """A dict that JSON can hold; empty for framings of datagrams, which hold nothing. Raises ValueError for a framing
    of streams that is not known here, and for one that is not settled()."""
    if isinstance(framing, SoupBinTcpFraming):
        soup = <SoupBinTcpFraming> framing
        return {"session": PyBytes_FromStringAndSize(<const char *> soup.session, 16).hex(), "next_seq": soup.next_seq,
                "broken": soup.broken, "held": _held(&soup.stitch)}
    if isinstance(framing, BinaryFileFraming):
        file = <BinaryFileFraming> framing
        return {"next_seq": file.next_seq, "ended": file.ended, "held": _held(&file.stitch)}
    if isinstance(framing, WebSocketFraming):
        return _dump_websocket(framing)
    if framing.stream:
        raise ValueError(f"a snapshot cannot hold the middle of a stream of {framing.name}")
    return {}


def load(Framing framing not None, state):
    """The inverse of dump(). Raises ValueError, nothing being changed, for what cannot have come from it."""
    cdef uint64_t number
    cdef bytes held, session
    if not framing.stream:
        if state:
            raise ValueError(f"the snapshot's line is a stream, this one of {framing.name} is none")
        return
    if isinstance(framing, WebSocketFraming):
        try:
            _load_websocket(framing, state)
        except (KeyError, TypeError, OverflowError, AttributeError, IndexError) as error:
            raise ValueError(f"the snapshot's framing is not whole: {error!r}") from None
        return
    try:
        number, held = state["next_seq"], bytes.fromhex(state["held"])
        session = bytes.fromhex(state.get("session", "00" * 16))
        flag = bool(state["broken" if isinstance(framing, SoupBinTcpFraming) else "ended"])
    except (KeyError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(f"the snapshot's framing is not whole: {error!r}") from None
    # a block that is whole is never held: its length says so
    if (number > <uint64_t> INT64_MAX or len(session) != 16 or len(held) >= FH_BLOCK_MAX
            or len(held) >= 2 and len(held) >= 2 + int.from_bytes(held[:2], "big")):
        raise ValueError("the snapshot's framing is in a state that there is not")
    if isinstance(framing, SoupBinTcpFraming):
        soup = <SoupBinTcpFraming> framing
        memcpy(soup.session, PyBytes_AsString(session), 16)
        soup.next_seq, soup.broken = number, flag
        _hold(&soup.stitch, held)
    elif isinstance(framing, BinaryFileFraming):
        file = <BinaryFileFraming> framing
        file.next_seq, file.ended = number, flag
        _hold(&file.stitch, held)


cdef str _held(const fh_stitch *stitch):
    return PyBytes_FromStringAndSize(<const char *> stitch.held, stitch.held_bytes).hex()


cdef void _hold(fh_stitch *stitch, bytes held) noexcept:
    fh_stitch_clear(stitch)
    memcpy(stitch.held, PyBytes_AsString(held), len(held))
    stitch.held_bytes = <unsigned int> len(held)


# ---- WebSocket


cdef bint _amid(const fh_ws *ws) noexcept:
    """A compressed message is under way."""
    return ws.message != 0 and ws.compressed and ws.where != FH_WS_END and ws.where != FH_WS_FAILED


cdef dict _dump_websocket(WebSocketFraming framing):
    cdef fh_ws *ws = &framing.ws
    cdef uint8_t[FH_INFLATE_WINDOW] window
    cdef uint32_t length = 0
    cdef bint ended = ws.where == FH_WS_END or ws.where == FH_WS_FAILED
    if framing.held or _amid(ws):
        raise ValueError("a compressed message is under way")
    if ws.inflate.on and not ended:
        length = fh_inflate_window(&ws.inflate, window)
    return {
        "where": ws.where, "opcode": ws.opcode, "fin": ws.fin, "message": ws.message, "cause": ws.cause,
        "close_code": ws.close_code, "left": ws.left, "utf8": [ws.utf8.need, ws.utf8.low, ws.utf8.high],
        "header": _hex(ws.header, ws.header_have if ws.where == FH_WS_HEADER else 0), "control": _hex(ws.control, ws.control_have),
        "text": _hex(ws.memory + ws.start, 0 if ended else ws.have),
        "head": _hex(ws.memory, ws.head.have if ws.where == FH_WS_IN_HEAD else 0),
        "deflate": bool(ws.inflate.on), "alone": bool(ws.inflate.alone), "window": _hex(window, length),
        "broken": bool(framing.broken), "violations": [framing.violations[i] for i in range(FH_WS_CAUSES)],
        "counts": [ws.frames, ws.fragments, ws.pings, ws.pongs, ws.inflated, ws.copied],
    }


cdef str _hex(const uint8_t *data, uint64_t length):
    return PyBytes_FromStringAndSize(<const char *> data, <Py_ssize_t> length).hex()


cdef int _load_websocket(WebSocketFraming framing, dict state) except -1:
    """All is looked at before anything is changed."""
    cdef fh_ws *ws = &framing.ws
    cdef fh_ws like
    cdef uint8_t[FH_WS_HEADER_MAX] begun
    cdef bytes header = bytes.fromhex(state["header"]), control = bytes.fromhex(state["control"])
    cdef bytes text = bytes.fromhex(state["text"]), head = bytes.fromhex(state["head"])
    cdef bytes window = bytes.fromhex(state["window"])
    cdef uint64_t[FH_WS_CAUSES] violations
    cdef uint64_t[6] counts
    cdef bint broken = state["broken"], alone = state["alone"], ended
    cdef int i
    memset(&like, 0, sizeof(like))
    like.where, like.opcode, like.fin = state["where"], state["opcode"], state["fin"]
    like.message, like.cause = state["message"], state["cause"]
    like.close_code, like.left = state["close_code"], state["left"]
    like.utf8.need, like.utf8.low, like.utf8.high = state["utf8"]
    like.inflate.on = bool(state["deflate"])
    for i in range(FH_WS_CAUSES):
        violations[i] = state["violations"][i]
    for i in range(6):
        counts[i] = state["counts"][i]
    ended = like.where == FH_WS_END or like.where == FH_WS_FAILED
    if (like.where > FH_WS_FAILED or like.message > FH_WS_BINARY or like.cause >= FH_WS_CAUSES or like.fin > 1
            or like.utf8.need > 3 or broken != (like.where == FH_WS_FAILED) or len(control) > FH_WS_CONTROL_MAX
            or len(text) > <Py_ssize_t> ws.largest or (text and (not like.message or like.where < FH_WS_HEADER))
            or len(head) >= FH_WS_HEAD_MAX or (head and like.where != FH_WS_IN_HEAD)
            or len(header) >= FH_WS_HEADER_MAX or (header and like.where != FH_WS_HEADER)
            or len(window) > FH_INFLATE_WINDOW or (window and (not like.inflate.on or ended))
            or (like.where < FH_WS_HEADER and (like.message or like.inflate.on))):
        raise ValueError("the snapshot's framing is in a state that there is not")
    if header:
        memcpy(begun, PyBytes_AsString(header), len(header))
        if len(header) >= 2 and (fh_ws_first_two(&like, begun) or <uint32_t> len(header) >= fh_ws_header_bytes(begun)):
            raise ValueError("the snapshot's framing is in a state that there is not")
    if like.where == FH_WS_PAYLOAD:
        if FH_WS_CLOSE <= like.opcode <= FH_WS_PONG:
            if like.left > <uint64_t> (FH_WS_CONTROL_MAX - len(control)):
                raise ValueError("the snapshot's framing is in a state that there is not")
        elif like.opcode > FH_WS_BINARY or not like.message or like.left > <uint64_t> ws.largest - <uint64_t> len(text):
            raise ValueError("the snapshot's framing is in a state that there is not")
    framing.reset()
    if like.inflate.on and not fh_inflate_resume(&ws.inflate, alone, <const uint8_t *> PyBytes_AsString(window),
                                                 <uint32_t> len(window)):
        framing.reset()
        raise ValueError("zlib does not take the snapshot's window")
    ws.where, ws.opcode, ws.fin, ws.message, ws.cause = like.where, like.opcode, like.fin, like.message, like.cause
    ws.close_code, ws.left, ws.utf8 = like.close_code, like.left, like.utf8
    ws.header_have, ws.control_have = <uint8_t> len(header), <uint8_t> len(control)
    memcpy(ws.header, PyBytes_AsString(header), len(header))
    memcpy(ws.control, PyBytes_AsString(control), len(control))
    memcpy(ws.memory, PyBytes_AsString(text), len(text))
    ws.have = <uint32_t> len(text)
    if head:
        memcpy(ws.memory, PyBytes_AsString(head), len(head))
        ws.head.have = <uint32_t> len(head)
    framing.broken = broken
    for i in range(FH_WS_CAUSES):
        framing.violations[i] = violations[i]
    ws.frames, ws.fragments, ws.pings = counts[0], counts[1], counts[2]
    ws.pongs, ws.inflated, ws.copied = counts[3], counts[4], counts[5]
    return 0
