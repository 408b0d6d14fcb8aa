"""Packets of a pcap for a Python program, in batches and one by one, beside libpcap in C and what Python people use.

The floor is a bare loop over libpcap's pcap_next_ex in C, compiled here (it needs gcc and libpcap-dev). The target is
0.7 of it in batches, and 250 ns one by one in Python. Each contestant counts packets, and looks at bytes or lengths.
scapy's PcapReader dissects; it gets fewer packets.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import harness
from bench_capture import make_capture

LOOP = r"""
#include <pcap/pcap.h>
long count(const char *path, long *bytes)
{
    char why[PCAP_ERRBUF_SIZE];
    struct pcap_pkthdr *head;
    const unsigned char *data;
    long packets = 0;
    pcap_t *file = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!file) return -1;
    while (pcap_next_ex(file, &head, &data) == 1) {
        packets++;
        *bytes += head->caplen + data[head->caplen - 1] % 2;    /* the frame is looked at, too */
    }
    pcap_close(file);
    return packets;
}
"""


def lacks_libpcap() -> str:
    """What is missing to compile the loop."""
    if shutil.which("gcc") is None:
        return "no gcc here"
    return "" if Path("/usr/include/pcap/pcap.h").exists() else "no libpcap-dev here"


packets = harness.Contest("packets", unit="packet", floor="libpcap loop in C", options={"packets": 500_000})


@packets.contestant("feedhandler, batches")
def batches(packets: int) -> harness.Round:
    from feedhandler.receive import capture

    path = make_capture(packets)

    def one_round() -> int:
        count = size = 0
        with capture.packets(path) as found:
            for _, times, _, _, lengths in found.batches(4096):
                count += len(times)
                size += int(lengths.sum())
        assert size > 0
        return count

    return one_round


@packets.contestant("feedhandler, one by one")
def singly(packets: int) -> harness.Round:
    from feedhandler.receive import capture

    path = make_capture(packets)

    def one_round() -> int:
        count = 0
        with capture.packets(path) as found:
            for _ts, _line, _payload in found:
                count += 1
        return count

    return one_round


@packets.contestant("libpcap loop in C", lacks=lacks_libpcap)
def libpcap(packets: int) -> harness.Round:
    path = make_capture(packets)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "loop.c"), Path(folder, "loop.so")
        source.write_text(LOOP)
        command = ["gcc", "-O3", "-shared", "-fPIC", "-o", str(library), str(source), "-lpcap"]
        subprocess.run(command, check=True)
        count = ctypes.CDLL(str(library)).count
    count.restype = ctypes.c_long

    def one_round() -> int:
        size = ctypes.c_long()
        return int(count(os.fsencode(path), ctypes.byref(size)))

    return one_round


@packets.contestant("dpkt", package="dpkt")
def dpkt(packets: int) -> harness.Round:
    import dpkt

    path = make_capture(packets)

    def one_round() -> int:
        with path.open("rb") as file:
            return sum(1 for _ in dpkt.pcap.Reader(file))

    return one_round


@packets.contestant("scapy RawPcapReader", package="scapy")
def scapy_raw(packets: int) -> harness.Round:
    from scapy.utils import RawPcapReader

    path = make_capture(min(packets, 100_000))
    return lambda: sum(1 for _ in RawPcapReader(str(path)))


@packets.contestant("scapy PcapReader", package="scapy")
def scapy_dissected(packets: int) -> harness.Round:
    from scapy.layers import inet, l2  # noqa: F401 (scapy knows them when they are there)
    from scapy.utils import PcapReader

    path = make_capture(min(packets, 5_000))
    return lambda: sum(1 for _ in PcapReader(str(path)))


test_packets = packets.test()

if __name__ == "__main__":
    packets.main()
