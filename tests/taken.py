"""What an arbiter hands out, as tests compare it."""

from collections.abc import Sequence


def letters(first: int, count: int) -> list[bytes]:
    """Messages whose content is their number."""
    return [b"%d" % n for n in range(first, first + count)]


def plain(taken: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Runs as (first, last, line), their content checked against their numbers."""
    out: list[tuple[object, ...]] = []
    for what in taken:
        if what[0] == "run":
            _, first, messages, _, line = what
            assert messages == letters(first, len(messages))  # type: ignore[arg-type]
            what = (first, first + len(messages) - 1, line)  # type: ignore[operator, arg-type]
        out.append(what)
    return out


def by_message(taken: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Runs taken apart; the channel's word left out: it is compared by itself."""
    out: list[tuple[object, ...]] = []
    for what in taken:
        if what[0] == "run":
            _, first, messages, ts, line = what
            out += [("message", first + i, m, ts, line) for i, m in enumerate(messages)]  # type: ignore[arg-type, operator, var-annotated]
        elif what[0] != "quality":
            out.append(what)
    return out
