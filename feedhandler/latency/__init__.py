"""How long a packet takes from the wire to a strategy, stage by stage, for each back end that works on this host.

    sendto() ──► wire ──► receive ──► publish ──► strategy
                 │        │           │           └ a reader in Python, wait="spin", holds the event
                 │        │           └ the books are written and the event is in the ring
                 │        └ the handler has taken the packet out of its receiver
                 └ the stamp of ts_recv: the kernel's, the XDP program's, the NIC's

One packet at a time, on a schedule, so that none waits for the one before. The handler is a `feedhandler run` of its
own, its hot thread spinning on the last CPU; the sender and the strategy are one thread on the first CPU, which looks
into the ring as soon as its system call has returned. The stages of each packet are exact: the handler counts every
packet (`latency_sample = 1`), and the sums of its histograms are read between two packets.
"""

from feedhandler.latency.measure import Figures, Report, Rig, measure, rigs
from feedhandler.latency.plot import draw, figures, plot

__all__ = ["Figures", "Report", "Rig", "draw", "figures", "measure", "plot", "rigs"]
