class Dissector:
    """Finds the UDP payload in a frame."""

    reassembled: int
    abandoned: int
    @property
    def incomplete(self) -> int:
        """Datagrams of which fragments are here, and others are missing."""
