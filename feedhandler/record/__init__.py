"""What comes off the wire, into files: `Recorder(config, folder)`."""

from feedhandler.record.recorder import Recorder, Status

__all__ = ["Recorder", "Status"]
