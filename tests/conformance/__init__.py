"""The one suite that every receiver passes: the same cases (`cases`) on every way to the wire (`rigs`).

A rig makes a receiver and is the other end of its lines. What does not apply to a receiver, and what it refuses, is
declared in its rig with one sentence each; everything else passes. `python -m tests.conformance RIG` runs the cases of
one rig without pytest and says what became of each; `--write` writes the table of all into docs/backends.md.
"""
