"""TLS to a server: who it is is always verified. The connection goes to a StreamReceiver after its handshake.

sock = stream.connect("stream.example.com", 443)
tls = Tls("stream.example.com", alpn=("http/1.1",))
tls.handshake(sock, timeout=5)
tls.write(request)
head = tls.read()
receiver.connect(line, sock.fileno(), head, tls)        # the polling thread's from here on
"""

from feedhandler.errors import TlsError
from feedhandler.receive._tls import Tls, library

__all__ = ["Tls", "TlsError", "library"]
