class Walk:
    """A shard gone through message by message."""
