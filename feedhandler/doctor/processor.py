"""CPUs, what else may run on them, and their speed."""

import os
from collections.abc import Iterator

from feedhandler.doctor.findings import Host, Row, cpu_list


def processor(host: Host) -> Iterator[Row]:
    """CPUs, what else may run on them, and their speed."""
    usable = len(os.sched_getaffinity(0))
    found = f"{usable} usable of {os.cpu_count()}"
    if usable >= 2:
        yield Row("cpu", "count", "yes", found)
    else:
        yield Row("cpu", "count", "no", f"{found}: handler and strategy would share one", "run on two or more CPUs")
    yield _quota(host)
    yield from _isolation(host)
    yield _governor(host)
    yield _balancer(host)
    yield _real_time(host)


def _quota(host: Host) -> Row:
    quota = (host.text("sys/fs/cgroup/cpu.max") or "").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        found = f"{share:.1f} CPUs: a spinning thread is halted"
        return Row("cpu", "no quota", "no", found, "lift the cgroup's cpu.max")
    return Row("cpu", "no quota", "yes", "no cgroup limit on CPU time" if quota else "none seen")


def isolated(host: Host) -> set[int]:
    """The CPUs that the kernel keeps free of other work."""
    return cpu_list(host.text("sys/devices/system/cpu/isolated") or "")


def _isolation(host: Host) -> Iterator[Row]:
    seen = host.text("sys/devices/system/cpu/isolated")
    if seen is None:
        yield Row("cpu", "isolation", "unseen", "/sys/devices/system/cpu/isolated cannot be read")
    elif seen:
        yield Row("cpu", "isolation", "yes", f"CPUs {seen} are isolated; name one in [handler] cpu")
        ticking = sorted(cpu_list(seen) - cpu_list(host.text("sys/devices/system/cpu/nohz_full") or ""))
        if ticking:
            found = f"the timer interrupts isolated CPUs {', '.join(map(str, ticking))} all the time"
            yield Row("cpu", "no tick", "no", found, f"kernel command line: nohz_full={seen} rcu_nocbs={seen}")
        else:
            yield Row("cpu", "no tick", "yes", f"CPUs {seen} have no timer interrupt while one thread runs")
    else:
        last = (os.cpu_count() or 1) - 1
        boot = f"kernel command line: isolcpus={last} nohz_full={last} rcu_nocbs={last}"
        yield Row("cpu", "isolation", "no", "no CPU is kept free: other work interrupts the hot thread", boot)


def _governor(host: Host) -> Row:
    cpus = (name for name in host.names("sys/devices/system/cpu") if name.startswith("cpu"))
    texts = (host.text(f"sys/devices/system/cpu/{name}/cpufreq/scaling_governor") for name in cpus)
    governors = sorted({text for text in texts if text})
    if not governors:
        return Row("cpu", "governor", "unseen", "no cpufreq here (usual in a virtual machine)")
    if governors == ["performance"]:
        return Row("cpu", "governor", "yes", "performance")
    found = f"{', '.join(governors)}: CPUs slow down when idle"
    return Row("cpu", "governor", "no", found, "cpupower frequency-set -g performance")


def _balancer(host: Host) -> Row:
    for name in host.names("proc"):
        if name.isdigit() and host.text(f"proc/{name}/comm") == "irqbalance":
            found = f"irqbalance runs (pid {name}): interrupts wander, also onto the hot thread's CPU"
            return Row("cpu", "interrupts", "no", found, "systemctl disable --now irqbalance")
    return Row("cpu", "interrupts", "yes", "nothing moves them about (irqbalance does not run)")


def _real_time(host: Host) -> Row:
    """The kernel's bound on real-time threads; of use to know, and right as it is."""
    runtime = host.number("proc/sys/kernel/sched_rt_runtime_us")
    period = host.number("proc/sys/kernel/sched_rt_period_us") or 1_000_000
    if runtime is None:
        return Row("cpu", "real time", "unseen", "/proc/sys/kernel/sched_rt_runtime_us cannot be read")
    if runtime < 0:
        found = "no bound: a spinning thread with [handler] priority starves all else on its CPU"
        return Row("cpu", "real time", "no", found, f"sysctl -w kernel.sched_rt_runtime_us={period * 95 // 100}")
    halted = (period - runtime) / 1000
    found = f"with [handler] priority a spinning thread is halted for up to {halted:g} ms in {period / 1000:g}"
    return Row("cpu", "real time", "yes", found)
