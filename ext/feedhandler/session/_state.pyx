"""What the framing of a stream holds between two runs of bytes, and back: for snapshots, off the hot path."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, uint64_t
from libc.string cimport memcpy
from feedhandler.session._binaryfile cimport BinaryFileFraming
from feedhandler.session._framing cimport Framing
from feedhandler.session._soupbintcp cimport SoupBinTcpFraming
from feedhandler.session._stitch cimport FH_BLOCK_MAX, fh_stitch, fh_stitch_clear


def dump(Framing framing not None):
    """A dict that JSON can hold; empty for framings of datagrams, which hold nothing. Raises ValueError for a framing
    of streams that is not known here."""
    if isinstance(framing, SoupBinTcpFraming):
        soup = <SoupBinTcpFraming> framing
        return {"session": PyBytes_FromStringAndSize(<const char *> soup.session, 16).hex(), "next_seq": soup.next_seq,
                "broken": soup.broken, "held": _held(&soup.stitch)}
    if isinstance(framing, BinaryFileFraming):
        file = <BinaryFileFraming> framing
        return {"next_seq": file.next_seq, "ended": file.ended, "held": _held(&file.stitch)}
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
