"""Kraken WebSocket v1: book with checksum, and trade."""
