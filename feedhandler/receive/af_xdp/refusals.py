"""What the kernel's refusals mean: an errno, and the step it was met at, as a sentence with the remedy."""

import errno
import os
import resource
from dataclasses import dataclass
from typing import Literal

from feedhandler.errors import BackendError
from feedhandler.receive.af_xdp import system

Step = Literal["socket", "map", "program", "attach", "memory", "register", "rings", "bind"]
GRANT = "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep on the interpreter, or run as root"
MIB = 1 << 20


@dataclass
class Attempt:
    """What is being set up, for the sentence when it fails."""

    interface: str
    index: int
    queue: int = 0
    queues: int = 1
    memory: int = 0
    """Bytes."""
    generic: bool = False
    """Not in the driver."""

    def refused(self, step: Step, error: OSError | MemoryError) -> BackendError:
        """The refusal as an exception to be raised."""
        number = error.errno if isinstance(error, OSError) and error.errno else errno.ENOMEM
        meaning = self._meaning(step, number, error)
        return BackendError(f"af_xdp: {meaning or f'{self._failed(step)}: {os.strerror(number)}'}")

    def _meaning(self, step: Step, number: int, error: OSError | MemoryError) -> str:
        name = self.interface
        match step, number:
            case "socket", errno.EPERM:
                return f"its sockets need CAP_NET_RAW ({GRANT})"
            case "socket", errno.EAFNOSUPPORT:
                return "this kernel was built without CONFIG_XDP_SOCKETS"
            case (("map" | "program" | "attach"), errno.EPERM):
                return f"loading BPF needs CAP_BPF and CAP_NET_ADMIN ({GRANT})"
            case (("map" | "program"), errno.ENOSYS):
                return f"this kernel, or this kind of machine, has no bpf(2): {error}"
            case "program", _:
                log = error.log if isinstance(error, system.VerifierError) else ""
                last = log.splitlines()[-2:] if log else [os.strerror(number)]
                return f"the kernel's verifier refused the filter: {'; '.join(last)}"
            case "attach", errno.EOPNOTSUPP:
                return f'the driver of {name} has no native XDP (loopback never has); mode = "generic" does without'
            case "attach", (errno.EBUSY | errno.EEXIST):  # one in our mode; one in the other, which excludes ours
                word = "xdpgeneric" if self.generic == (number == errno.EBUSY) else "xdp"
                return (
                    f"another XDP program is on {name}{self._program()}; end the program that put it there, "
                    f"or remove it: ip link set dev {name} {word} off"
                )
            case "attach", errno.ERANGE:
                return (
                    f"the MTU of {name} is too large for native XDP on this driver{self._mtu()}; "
                    f"lower it: ip link set dev {name} mtu 1500"
                )
            case "attach", errno.EINVAL:
                return (
                    f"{name} did not take the XDP program: the kernel is older than 5.9, or the driver wants "
                    f"a smaller MTU{self._mtu()}, or fewer queues"
                )
            case "bind", errno.EBUSY:
                return f"queue {self.queue} of {name} already has an AF_XDP socket (of another process?)"
            case "bind", errno.EINVAL:
                return f"queue {self.queue} does not exist on {name} (it has {self.queues} receive queues)"
            case "bind", errno.EOPNOTSUPP:
                return f"queue {self.queue} of {name} has no zero-copy, unlike the first: [af_xdp] zero_copy = false"
            case "bind", errno.ENETDOWN:
                return f"{name} is down: ip link set dev {name} up"
            case "register", errno.ENOBUFS:
                soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
                limit = "none" if soft == resource.RLIM_INFINITY else f"{soft / MIB:g} MiB"
                return (
                    f"packet memory of {self.memory / MIB:g} MiB is over the locked-memory limit of {limit}: raise it "
                    "(ulimit -l unlimited, or LimitMEMLOCK=infinity), grant CAP_IPC_LOCK, or lower the ring"
                )
            case (("memory" | "register" | "rings"), errno.ENOMEM):
                return (
                    f"no memory for {self.queues} queues of {name} with {self.memory / MIB:g} MiB each: lower the "
                    f"ring, or the queues: ethtool -L {name} combined 1"
                )
        return ""

    def _failed(self, step: Step) -> str:
        where = f"queue {self.queue} of {self.interface}"
        return {
            "socket": "cannot make an AF_XDP socket",
            "map": "cannot make a BPF map",
            "program": "cannot load the filter",
            "attach": f"cannot attach the filter to {self.interface}",
            "memory": f"cannot have {self.memory / MIB:g} MiB for {where}",
            "register": f"cannot register {self.memory / MIB:g} MiB for {where}",
            "rings": f"cannot make the rings of {where}",
            "bind": f"cannot bind {where}",
        }[step]

    def _program(self) -> str:
        try:
            number = system.link_state(self.index).program
        except OSError:
            return ""
        return f" (id {number})" if number else ""

    def _mtu(self) -> str:
        try:
            return f" ({system.link_state(self.index).mtu})"
        except OSError:
            return ""
