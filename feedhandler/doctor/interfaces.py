"""Each network interface: whether multicast can come in on it, its driver and queues, and how packets are stamped."""

from collections.abc import Iterator, Sequence

from feedhandler.doctor.findings import Host, Row, cpu_list
from feedhandler.doctor.processor import isolated

IFF_UP, IFF_MULTICAST = 0x1, 0x1000
TOLERATED_S = 1.0  # a NIC's clock further from the system's is not believed (receive/_sockets.pyx)


def interfaces(host: Host, names: Sequence[str], missing: Sequence[str] = ()) -> Iterator[Row]:
    """All of each interface."""
    for name in missing:
        there = ", ".join(host.names("sys/class/net"))
        yield Row("interface", name, "no", f"there is none of this name; there are: {there}")
    for name in names:
        yield _link(host, name)
        if name == "lo" or not is_up(host, name):
            continue
        yield from _queues(host, name)
        yield from _reverse_path(host, name)
        yield from _stamps(host, name)
        yield from _interrupts(host, name)


def is_up(host: Host, name: str) -> bool:
    """Whether the interface is up."""
    return bool(_flags(host, name) & IFF_UP)


def driver(host: Host, name: str) -> str:
    """The driver's name, "" where it cannot be seen."""
    known = host.kernel.driver(name)
    link = host.root / "sys/class/net" / name / "device/driver"
    return known.name if known else link.resolve().name if link.exists() else ""


def queues(host: Host, name: str) -> int:
    """Receive queues in use; 1 where they cannot be seen."""
    channels = host.kernel.channels(name)
    if channels and channels.used:
        return channels.used
    return sum(queue.startswith("rx-") for queue in host.names(f"sys/class/net/{name}/queues")) or 1


def _flags(host: Host, name: str) -> int:
    try:
        return int(host.text(f"sys/class/net/{name}/flags") or "0", 16)
    except ValueError:
        return 0


def _link(host: Host, name: str) -> Row:
    flags, known = _flags(host, name), host.kernel.driver(name)
    words = [f"driver {driver(host, name)}" if driver(host, name) else "virtual"]
    if known and known.firmware:
        words.append(f"firmware {known.firmware}")
    speed = host.number(f"sys/class/net/{name}/speed")
    words += [f"{speed} Mb/s"] if speed and speed > 0 else []
    words.append(f"mtu {host.text(f'sys/class/net/{name}/mtu')}")
    found = ", ".join(words)
    if not flags & IFF_UP:
        return Row("interface", name, "no", f"down; {found}", f"ip link set {name} up")
    if not flags & IFF_MULTICAST and name != "lo":
        return Row("interface", name, "no", f"no multicast; {found}", f"ip link set {name} multicast on")
    # lo carries multicast when it is named, without the flag
    return Row("interface", name, "yes", f"up, {'loopback multicast' if name == 'lo' else 'multicast'}, {found}")


def _queues(host: Host, name: str) -> Iterator[Row]:
    channels, used = host.kernel.channels(name), queues(host, name)
    most = f" of at most {channels.most}" if channels else ""
    found = f"{used} for receiving{most}; af_xdp opens a socket on each"
    yield Row("interface", f"{name} queues", "yes", found)


def _reverse_path(host: Host, name: str) -> Iterator[Row]:
    """The kernel takes the stricter of the interface's word and that of all."""
    words = [host.number(f"proc/sys/net/ipv4/conf/{where}/rp_filter") or 0 for where in ("all", name)]
    if max(words) == 1:
        found = "strict: multicast from sources routed elsewhere is dropped"
        yield Row("interface", f"{name} rp_filter", "no", found, f"sysctl -w net.ipv4.conf.{name}.rp_filter=2")


def _stamps(host: Host, name: str) -> Iterator[Row]:
    check, stamping = f"{name} timestamps", host.kernel.stamping(name)
    if stamping is None:
        yield Row("interface", check, "unseen", "the driver does not tell; packets are stamped by the kernel")
        return
    if not stamping.hardware:
        yield Row("interface", check, "yes", "by the kernel; the NIC gives none")
        return
    on = host.kernel.stamping_on(name)
    if on is None:
        yield Row("interface", check, "unseen", "the NIC can stamp packets; whether it does cannot be seen")
    elif not on:
        found = "the NIC can stamp packets, and nobody has asked it to: the kernel's are used"
        yield Row("interface", check, "no", found, f"hwstamp_ctl -i {name} -r 1")
    else:
        yield Row("interface", check, "yes", "by the NIC")
    if stamping.clock >= 0:
        yield _clock(host, name, stamping.clock)


def _clock(host: Host, name: str, clock: int) -> Row:
    check, ahead = f"{name} clock", host.kernel.clock_offset(clock)
    if ahead is None:
        return Row("interface", check, "unseen", f"/dev/ptp{clock} cannot be read (root can): is it set to UTC?")
    if abs(ahead) < TOLERATED_S:
        return Row("interface", check, "yes", f"/dev/ptp{clock} is within {abs(ahead) * 1e6:,.0f} µs of the system's")
    why = "it runs on TAI" if abs(ahead - 37) < TOLERATED_S else "nobody has set it"
    found = f"/dev/ptp{clock} is {ahead:+,.0f} s off ({why}): hardware timestamps are not believed"
    return Row("interface", check, "no", found, f"phc2sys -s CLOCK_REALTIME -c {name} -O 0")


def _interrupts(host: Host, name: str) -> Iterator[Row]:
    """Where the NIC's interrupts run: not on a CPU that is kept free for the hot thread."""
    device = f"sys/class/net/{name}/device"
    numbers = host.names(f"{device}/msi_irqs") or host.names(f"{device}/../msi_irqs")
    if not numbers:
        return
    places: dict[str, set[int]] = {}
    for number in numbers:
        seen = host.text(f"proc/irq/{number}/effective_affinity_list") or host.text(
            f"proc/irq/{number}/smp_affinity_list"
        )
        if seen:
            places[number] = cpu_list(seen)
    check = f"{name} interrupts"
    if not places:
        yield Row("interface", check, "unseen", f"/proc/irq/{numbers[0]} cannot be read")
        return
    wrong = [number for number, cpus in places.items() if cpus & isolated(host)]
    where = ", ".join(map(str, sorted(set.union(*places.values()))))
    if wrong:
        free = sorted(set(range(_cpus(host))) - isolated(host)) or [0]
        mend = f"for i in {' '.join(wrong)}; do echo {free[0]} > /proc/irq/$i/smp_affinity_list; done"
        yield Row("interface", check, "no", f"on isolated CPUs: {', '.join(wrong)} (all: CPU {where})", mend)
    else:
        apart = "apart from the isolated CPUs" if isolated(host) else "keep [handler] cpu off these"
        yield Row("interface", check, "yes", f"{len(places)} on CPU {where}; {apart}")


def _cpus(host: Host) -> int:
    return len(cpu_list(host.text("sys/devices/system/cpu/online") or "")) or 1
