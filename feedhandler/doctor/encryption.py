"""What decrypts the records of TLS lines."""

import os
from collections.abc import Iterator

from feedhandler.doctor.findings import Host, Row
from feedhandler.receive import tls

NEEDED = {"aes", "pclmulqdq", "avx512f", "avx512dq", "avx512bw", "avx512vl", "vaes", "vpclmulqdq"}


def encryption(host: Host) -> Iterator[Row]:
    """Whether AES-GCM is decrypted with the widest instructions of this CPU."""
    found = tls.library()
    if found["gcm"] != "OpenSSL":
        yield Row("tls", "AES-GCM", "yes", f"{found['gcm']}, with VAES and AVX-512")
        return
    seen = next((line for line in (host.text("proc/cpuinfo") or "").splitlines() if line.startswith("flags")), None)
    if seen is None:
        yield Row("tls", "AES-GCM", "unseen", "OpenSSL's own; /proc/cpuinfo does not say what the CPU can")
    elif not set(seen.split()) >= NEEDED:
        yield Row("tls", "AES-GCM", "yes", "OpenSSL's own: this CPU has no VAES with AVX-512")
    elif found["gcm_linked"] and os.environ.get("FEEDHANDLER_GCM") == "openssl":
        chosen = "OpenSSL's own, by FEEDHANDLER_GCM=openssl: a record of 1,500 bytes costs 350 ns more"
        yield Row("tls", "AES-GCM", "no", chosen, "unset FEEDHANDLER_GCM")
    elif found["gcm_linked"]:
        yield Row("tls", "AES-GCM", "no", f"OpenSSL's own: {found['gcm_linked']} failed its known answers here")
    elif not found["private"]:
        shared = "OpenSSL's own: beside a shared OpenSSL there is no other"
        yield Row("tls", "AES-GCM", "no", shared, "apt-get install libssl-dev libipsec-mb-dev\nmake build")
    else:
        absent = "OpenSSL's own, which does not use this CPU's VAES: a record of 1,500 bytes costs 350 ns more"
        yield Row("tls", "AES-GCM", "no", absent, "apt-get install libipsec-mb-dev\nmake build")
