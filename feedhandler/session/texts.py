"""Of REST requests: what the control line says of their answers, and what they asked for."""

import json
from urllib.parse import parse_qs, urlsplit


def depth_answer(symbol: str, body: bytes) -> bytes:
    """A REST snapshot as it stands on a control line: the body as it came."""
    return b'{"rest":"depth","symbol":' + json.dumps(symbol).encode() + b',"body":' + body.strip() + b"}"


def asked_for(url: str) -> str:
    """The symbol in a request: of its query, else the last word of its path."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    for key in ("symbol", "pair", "product_id"):
        if found := query.get(key):
            return found[0]
    return parts.path.rstrip("/").rpartition("/")[2]
