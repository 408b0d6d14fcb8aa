"""Times of recordings that have none of their own (BinaryFILE): those that the exchange wrote into its messages."""

import re

from feedhandler.errors import RecordingError

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?")


def of_the_day(word: str) -> int:
    """HH:MM[:SS[.f]] in ns since midnight. Raises RecordingError for another word."""
    found = _CLOCK.fullmatch(word.strip())
    if found is None or int(found[2]) > 59 or int(found[3] or 0) > 59:
        raise RecordingError(
            f"{word!r}: the recording has no times of its own; name one of the exchange's day, as 09:30 or 09:30:00.5"
        )
    seconds = (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3] or 0)
    return seconds * 10**9 + int((found[4] or "").ljust(9, "0"))
