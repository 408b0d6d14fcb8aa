"""What people may read of a URL: never what lets somebody in.

Notes, logs and errors pass here. A user and password, the values of all parameters but those that name data, and long
words of letters and digits in path or parameters (Binance's listenKey stands there) are shown as ***.
"""

import re

__all__ = ["redacted"]

HIDDEN = "***"
SPOKEN = frozenset({"symbol", "symbols", "pair", "limit", "depth", "count", "level", "step", "stream", "streams"})
URL = re.compile(r"\b(?:wss?|https?)://[^\s'\"<>]+", re.IGNORECASE)
USER = re.compile(r"(?<=://)[^/?#\s]*@")
PARAMETER = re.compile(r"(?<=[?&#])([^=?&#\s]+)=([^&#\s'\"]*)")
LONG = re.compile(r"[A-Za-z0-9_-]{32,}")


def redacted(text: str) -> str:
    """The text, its URLs and parameters without what is secret."""
    return PARAMETER.sub(_parameter, URL.sub(_url, text))


def _url(found: re.Match[str]) -> str:
    url = USER.sub(HIDDEN + "@", found[0])
    begin = url.index("://") + 3
    path = next((at for at in range(begin, len(url)) if url[at] in "/?#"), len(url))
    return url[:path] + LONG.sub(HIDDEN, url[path:])


def _parameter(found: re.Match[str]) -> str:
    name, value = found.groups()
    secret = value.rstrip(":;,.)")  # what stands behind it is the sentence's
    return found[0] if name.lower() in SPOKEN or not secret else f"{name}={HIDDEN}{value[len(secret) :]}"
