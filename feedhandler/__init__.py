"""Exchange market data from the wire to order books in shared memory, read from Python."""
