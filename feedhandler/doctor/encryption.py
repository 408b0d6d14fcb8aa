"""What decrypts the records of TLS lines, and whether OpenSSL has its memory for them from us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from feedhandler.doctor.findings import Host, Row
from feedhandler.receive import tls

if TYPE_CHECKING:
    from feedhandler.receive._tls import _Library as Library

NEEDED = {"aes", "pclmulqdq", "avx512f", "avx512dq", "avx512bw", "avx512vl", "vaes", "vpclmulqdq"}


def encryption(host: Host) -> Iterator[Row]:
    """Whether AES-GCM is decrypted with the widest instructions of this CPU, and whether that allocates nothing."""
    found = tls.library()
    yield _cipher(host, found)
    yield _hooks(found)


def _cipher(host: Host, found: Library) -> Row:
    if found["gcm"] != "OpenSSL":
        return Row("tls", "AES-GCM", "yes", f"{found['gcm']}, with VAES and AVX-512")
    seen = next((line for line in (host.text("proc/cpuinfo") or "").splitlines() if line.startswith("flags")), None)
    if seen is None:
        return Row("tls", "AES-GCM", "unseen", "OpenSSL's own; /proc/cpuinfo does not say what the CPU can")
    if not set(seen.split()) >= NEEDED:
        return Row("tls", "AES-GCM", "yes", "OpenSSL's own: this CPU has no VAES with AVX-512")
    if found["gcm_linked"] and os.environ.get("FEEDHANDLER_GCM") == "openssl":
        chosen = "OpenSSL's own, by FEEDHANDLER_GCM=openssl: a record of 1,500 bytes costs 350 ns more"
        return Row("tls", "AES-GCM", "no", chosen, "unset FEEDHANDLER_GCM")
    if found["gcm_linked"]:
        return Row("tls", "AES-GCM", "no", f"OpenSSL's own: {found['gcm_linked']} failed its known answers here")
    if not found["private"]:
        shared = "OpenSSL's own: beside a shared OpenSSL there is no other"
        return Row("tls", "AES-GCM", "no", shared, "apt-get install libssl-dev libipsec-mb-dev\nmake build")
    absent = "OpenSSL's own, which does not use this CPU's VAES: a record of 1,500 bytes costs 350 ns more"
    return Row("tls", "AES-GCM", "no", absent, "apt-get install libipsec-mb-dev\nmake build")


def _hooks(found: Library) -> Row:
    """OpenSSL takes memory functions only before its own first allocation; these are of this process."""
    counts = f"refused: {int(not found['hooked'])}, pieces of the heap: {found['missed']:,}"
    if found["hooked"]:
        return Row("tls", "memory hooks", "yes", f"OpenSSL takes what a record needs from fixed memory; {counts}")
    if found["private"]:
        return Row("tls", "memory hooks", "no", f"this build leaves OpenSSL the heap (AddressSanitizer); {counts}")
    first = "another user of the shared OpenSSL came first: each TLS 1.3 record takes a piece of the heap"
    return Row("tls", "memory hooks", "no", f"{first}; {counts}", "apt-get install libssl-dev\nmake build")
