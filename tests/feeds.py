"""Configurations as tests need them: one channel of ITCH 5.0, over TCP or multicast."""

from collections.abc import Sequence


def soup(port: int, tables: str = "", *, name: str = "soup", line: str = "") -> str:
    """SoupBinTCP from a server on this host. `tables`: what stands before the channel, `line`: further keys of it."""
    return (
        f'{_channel(name, tables, "soupbintcp")}[[channel.line]]\nname = "A"\nhost = "127.0.0.1"\nport = {port}\n{line}'
    )


def multicast(
    targets: Sequence[tuple[str, int]],
    tables: str = "",
    *,
    name: str,
    keys: str = "",
    recovery: str = "",
    interface: str = "lo",
) -> str:
    """MoldUDP64 with a line (A, B, …) for each group and port. `keys` are further ones of the channel."""
    lines = "".join(
        f'[[channel.line]]\nname = "{letter}"\ngroup = "{group}"\nport = {port}\ninterface = "{interface}"\n'
        for letter, (group, port) in zip("ABCDEFGH", targets, strict=False)
    )
    end = f"[channel.recovery]\n{recovery}\n" if recovery else ""
    return _channel(name, tables, "moldudp64") + keys + lines + end


def _channel(name: str, tables: str, session: str) -> str:
    text = f'[shm]\nname = "{name}"\n{tables.rstrip()}\n'
    return text + f'[[channel]]\nname = "itch"\nprotocol = "itch50"\nsession = "{session}"\n'
