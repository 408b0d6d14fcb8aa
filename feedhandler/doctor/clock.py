"""How the time is read, and whether it is right."""

from collections.abc import Iterator

from feedhandler.doctor.findings import Host, Row

STA_UNSYNC = 0x40  # timex.h: the clock is not disciplined
FAST = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")


def clock(host: Host) -> Iterator[Row]:
    """How the time is read, and whether it is right."""
    base = "sys/devices/system/clocksource/clocksource0"
    source, others = host.text(f"{base}/current_clocksource"), host.text(f"{base}/available_clocksource") or ""
    if source is None:
        yield Row("clock", "source", "unseen", f"/{base} cannot be read")
    elif source in FAST:
        yield Row("clock", "source", "yes", f"{source}: read without a system call")
    else:
        mend = f"echo tsc > /{base}/current_clocksource" if "tsc" in others.split() else "boot with tsc=reliable"
        yield Row("clock", "source", "no", f"{source}: each reading is a system call", mend)
    state = host.kernel.clock_status()
    if state is None:
        yield Row("clock", "synchronised", "unseen", "the kernel does not tell (adjtimex)")
    elif state & STA_UNSYNC:
        found = "nothing disciplines it: ts_recv may be off by seconds"
        yield Row("clock", "synchronised", "no", found, "apt install chrony")
    else:
        yield Row("clock", "synchronised", "yes", "disciplined by NTP or PTP")
    clocks = [f"{name} ({host.text(f'sys/class/ptp/{name}/clock_name')})" for name in host.names("sys/class/ptp")]
    if clocks:
        yield Row("clock", "PTP", "yes", f"hardware clocks: {', '.join(clocks)}")
    else:
        yield Row("clock", "PTP", "no", "no hardware clock (/dev/ptp*): packets are stamped in software")
