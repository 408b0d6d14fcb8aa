"""What a recording is, and how it is read."""
