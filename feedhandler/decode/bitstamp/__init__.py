"""Bitstamp WebSocket v2: diff and full order book, live trades."""
