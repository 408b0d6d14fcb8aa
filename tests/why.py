"""What keeps a handler's channel from being whole: for messages of waits that were in vain."""

from feedhandler.counters import CHANNEL, by_name
from feedhandler.handler import Handler
from feedhandler.records import Quality, Reason


class Why:
    """Looked at when it is asked for; `messages`: so many the channel should have had, and be LIVE."""

    def __init__(self, handler: Handler, messages: int) -> None:
        self.handler, self.messages = handler, messages

    def __str__(self) -> str:
        channel, status = self.handler.segment.channels[0], self.handler.status()
        state = f"{channel['next_seq']} {Quality(int(channel['quality'])).name} {Reason(int(channel['reason'])).name}"
        rest = [status["recovery"], status["notes"][-5:], dict(by_name(CHANNEL, channel))]
        return f"LIVE at {self.messages + 1} ({state} {rest})"
