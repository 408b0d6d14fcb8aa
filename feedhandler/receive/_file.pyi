from feedhandler.receive._receiver import Receiver
from feedhandler.receive.compressed import Unpacker

class FileReceiver(Receiver):
    """A window of bytes onto a file."""

    path: str
    growing: bool
    @property
    def offset(self) -> int:
        """Bytes of the file (unpacked) that have been read; for progress bars."""
    @property
    def unpacking(self) -> Unpacker | None:
        """What unpacks a compressed file; None of another one."""
    @property
    def packed_offset(self) -> int:
        """Bytes of the file as it lies on the disk that have been read."""
    def let_go(self) -> None:
        """As close(), but what looks into the mapped file keeps it."""
    def grows(self) -> None:
        """The file may still grow: its end, even inside a packet, is an idle turn."""
    def settle(self) -> None:
        """Nothing more will be written into the file: its end is the end."""
    def refill(self) -> bool:
        """Bring more of a compressed file into the window; poll() does it by itself."""
