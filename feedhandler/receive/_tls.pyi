import os
import socket
from typing import Literal, Self, TypedDict, overload

class _Library(TypedDict):
    version: str
    private: bool
    hooked: bool
    missed: int
    gcm: str
    gcm_linked: str
    gcm_keys: int

def library() -> _Library:
    """Which OpenSSL this is, where it has its memory from, and what does its AES-GCM."""

@overload
def aes_gcm(key: bytes, iv: bytes, data: bytes, aad: bytes = b"", tag: None = None) -> tuple[bytes, bytes]: ...
@overload
def aes_gcm(key: bytes, iv: bytes, data: bytes, aad: bytes, tag: bytes) -> bytes | None:
    """A door for tests: one message through the AES-GCM that connections take."""

class Tls:
    """One client connection over TLS 1.2 or 1.3: handshake, then read and write; always verified."""

    host: str
    shaken: bool
    handed_over: bool
    def __new__(
        cls,
        host: str,
        *,
        ca: str | os.PathLike[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        alpn: tuple[str, ...] = (),
        session: bytes | None = None,
    ) -> Self: ...
    def handshake(self, sock: socket.socket, timeout: float = 5.0) -> None:
        """Agree on keys with the server at the other end of a connected socket, and verify who it is."""
    def read(self, size: int = 65536, timeout: float = 5.0) -> bytes:
        """At most `size` plain bytes as soon as there are any; b"" when the server has closed in good order."""
    def write(self, data: bytes, timeout: float = 5.0) -> None:
        """Send all of `data`."""
    def goodbye(self) -> None:
        """Say close_notify: nothing more will be sent."""
    @property
    def reason(self) -> Literal["", "CLOSED", "TRUNCATED", "SOCKET", "PROTOCOL"]:
        """How the connection is over, in a word; "": it is not."""
    @property
    def failure(self) -> str:
        """The same as a sentence."""
    @property
    def version(self) -> str:
        """ "TLSv1.3" or "TLSv1.2"."""
    @property
    def cipher(self) -> str:
        """The suite's name."""
    @property
    def alpn(self) -> str:
        """The protocol that the server chose of those offered."""
    @property
    def resumed(self) -> bool:
        """Whether the session of an earlier connection was taken up again."""
    @property
    def direct(self) -> int:
        """Records that were decrypted from where they were received to where they are wanted, without OpenSSL."""
    @property
    def refused(self) -> int:
        """Renegotiations that the server asked for; each was refused."""
    @property
    def session(self) -> bytes | None:
        """The newest session, for the next connection to the same host; a secret."""
