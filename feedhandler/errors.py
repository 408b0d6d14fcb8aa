"""The exceptions, by what the caller can do about them. Messages say what was expected and the remedy."""


class FeedError(Exception):
    """The root of all errors that feedhandler raises on purpose."""


class ConfigError(FeedError):
    """A configuration file or argument is wrong; the message names file, key, what was expected and what was found."""


class BackendError(FeedError):
    """A way to the wire cannot be had here; the message gives the reason and the remedy."""


class ReceiverError(FeedError):
    """A line failed while running."""


class TlsError(ReceiverError):
    """A TLS connection was refused or failed. `reason` says why in a word.

    Who the server is: WRONG_HOST, EXPIRED, NOT_YET_VALID, UNKNOWN_CA, CERTIFICATE (another fault of it).
    The connection: TIMEOUT, TRUNCATED (the end without close_notify), SOCKET (the message says which error), PROTOCOL
    (a bad record, an alert of the server).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SessionError(FeedError):
    """The other side refused or ended the session; the message gives its reason."""


class CaptureError(FeedError):
    """A capture file is damaged or of an unknown kind. Every whole packet before the damage has been given out."""


class RecordingError(FeedError):
    """A recording cannot be written or read: its folder, its manifest or the disk; the message gives the remedy."""


class SegmentError(FeedError):
    """A shared segment cannot be made or attached to: absent, in use, no room, no permission."""


class LayoutError(SegmentError):
    """The segment was written by another version of feedhandler; the message names both layouts."""


class WriterDiedError(FeedError):
    """The process that wrote the segment is dead."""


class UnknownSymbolError(FeedError, KeyError):
    """The directory holds no such symbol, or holds it on several venues; the message names them."""

    __str__ = Exception.__str__
