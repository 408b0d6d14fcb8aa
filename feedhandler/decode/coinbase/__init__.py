"""Coinbase Exchange: level 2 and matches of its ws-feed."""
