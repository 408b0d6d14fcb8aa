"""The ranges rule in plain Python: what a book of numbered changes takes, and whether it may be called right."""

from dataclasses import dataclass, field


@dataclass
class Model:
    """One book of a channel whose changes cover the numbers (before, last]; times are milliseconds.

    `waiting` holds what came ahead, by its last number. The state is a word: "new" has no snapshot, "whole", "doubted"
    is right as of `last` until shown otherwise.
    """

    reorder_ms: int
    state: str = "new"
    last: int = 0
    waiting: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)  # line: the number before its connection's first change
    since: int | None = None
    shown: bool = False  # doubted, because nothing has proven the snapshot yet

    def change(self, line: int, before: int, last: int, now: int) -> None:
        self.seen.setdefault(line, before)
        if self.state == "new" or before > self.last:
            if last > self.last or self.state == "new":
                self.waiting[last] = min(before, self.waiting.get(last, before))
                if self.state == "whole" and self.since is None:
                    self.since = now
        elif last > self.last:
            self.last, self.state = last, "whole"
            self._drain(now)
        elif self.state == "doubted" and self.shown:
            self.state = "whole"

    def snapshot(self, number: int, now: int) -> None:
        behind = [before for last, before in sorted(self.waiting.items()) if last > number]
        if self.state == "whole" and (self.since is None or number <= self.last):
            return
        if (behind and behind[0] > number) or (self.state != "new" and number < self.last):
            return
        proven = any(before <= number for before in self.seen.values())
        self.last, self.since, self.state = number, None, "whole" if proven else "doubted"
        self.shown = not proven
        self._drain(now)

    def lost(self, line: int) -> None:
        self.seen.pop(line, None)
        if not self.seen and self.state == "whole":
            self.state, self.since, self.shown = "doubted", None, False

    def tick(self, now: int) -> None:
        if self.since is not None and now - self.since >= self.reorder_ms and self.state == "whole":
            self.state, self.since, self.shown = "doubted", None, False

    def _drain(self, now: int) -> None:
        for last, before in sorted(self.waiting.items()):
            if last > self.last:
                if before > self.last:
                    break
                self.last, self.state = last, "whole"
            del self.waiting[last]
        self.since = (self.since if self.since is not None else now) if self.waiting and self.state == "whole" else None
