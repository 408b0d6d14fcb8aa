"""Waiting on file descriptors: spin for a while, then sleep. Used by compiled receivers only."""
