"""The choice of the way to the wire: a backend by name, or the first that opens here.

A backend is a module of this package with two names: `Options`, a dataclass of all its settings, and
`receiver(lines, options, notes)`, which opens on the real interfaces or raises BackendError, one clause with reason and
remedy, with everything undone. It is imported when it is tried and not before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from feedhandler.errors import BackendError, ConfigError, FeedError

if TYPE_CHECKING:
    from feedhandler.config import Config
    from feedhandler.receive._receiver import Receiver

ORDER = ("rdma", "af_xdp", "sockets")
"""The order in which "auto" tries: least kernel first."""


class Choice(NamedTuple):
    """A receiver, and what was chosen."""

    receiver: "Receiver"
    backend: str
    """Its name and mode, as shown to people and in shared memory: "af_xdp native copy"."""
    sentence: str
    """The same, and why not each faster one; of a backend asked for by name, just that."""


def choose(
    lines: Sequence[Any],
    backend: str = "auto",
    options: Any = None,
    notes: list[str] | None = None,
) -> Choice:
    """Open the lines by `backend`, or, with "auto", by the first of ORDER that does not refuse.

    `options`: of a backend by name its `Options`; else, by name, the settings of each (its `Options`, or a mapping or
    dataclass with the same fields). Sentences of the one chosen are appended to `notes`.

    Raises BackendError, with the reason, when the one asked for (or, with "auto", every one) refuses; ConfigError for
    an unknown name, and for a line that is wrong (with "auto": for all of them).
    """
    if backend != "auto" and backend not in ORDER:
        raise ConfigError(f"backend must be auto, {', '.join(reversed(ORDER))}, not {backend!r}")
    refused: list[str] = []
    for name in ORDER if backend == "auto" else (backend,):
        said: list[str] = []
        try:
            module = load(name)
            receiver = module.receiver(lines, _options(module, name, options), said)
        except BackendError as error:
            refused.append(_clause(name, error))
            continue
        except ConfigError as error:
            if backend == "auto" and name != ORDER[-1]:
                refused.append(_clause(name, error))
                continue
            others = "; ".join(reason for reason in refused if str(error) not in reason)
            raise ConfigError(f"{error} ({others})" if others else str(error)) from None
        if notes is not None:
            notes.extend(said)
        chosen = title(name, receiver)
        return Choice(receiver, chosen, f"backend {chosen}" + (f" ({'; '.join(refused)})" if refused else ""))
    if backend == "auto":
        raise BackendError("no way to the wire here: " + "; ".join(refused))
    raise BackendError(refused[0] + ("" if backend == "sockets" else "; or choose sockets or auto"))


def configured(config: "Config", notes: list[str]) -> Choice:
    """Open all lines of a configuration as its [handler] says; what was chosen, and why, is appended to `notes`.

    Raises BackendError and ConfigError as choose() does.
    """
    run = config.handler
    sockets = {"receive_buffer": run.receive_buffer, "busy_poll_us": run.busy_poll_us}
    options = {"sockets": sockets, "af_xdp": config.af_xdp, "rdma": config.rdma}
    said: list[str] = []
    choice = choose([line for channel in config.channels for line in channel.lines], run.backend, options, said)
    for sentence in (choice.sentence, *said):
        notes.append(sentence)
    return choice


def title(name: str, receiver: "Receiver") -> str:
    """Name and mode of a receiver, as shown to people and in shared memory."""
    return f"{name} {receiver.describe()}".rstrip()


def load(name: str) -> ModuleType:
    """The module of a backend. Raises BackendError where this installation has none."""
    module = f"feedhandler.receive.{name}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BackendError(f"{name}: not built into this version") from None


def _options(module: ModuleType, name: str, options: Any) -> Any:
    """The backend's Options out of what the caller gave."""
    if options is None or isinstance(options, module.Options):
        return options
    given = options.get(name) if isinstance(options, Mapping) else options
    if given is None or isinstance(given, module.Options):
        return given
    return module.Options(**(asdict(given) if is_dataclass(given) and not isinstance(given, type) else given))


def _clause(name: str, error: FeedError) -> str:
    """The refusal with the backend's name in front, once."""
    sentence = str(error).rstrip(".")
    return sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}"
