"""Coverage-guided fuzzing of compiled code on hostile bytes: `python -m tests.fuzz --help`, or `make fuzz MINUTES=10`.

The extensions of build/asan are built by gcc with `-fsanitize-coverage=trace-pc`: every basic block calls into
`coverage.c`, which counts edges in a map. An input that reaches an edge, or a magnitude of count, that none before it
reached joins the corpus; new inputs are mutations of the corpus. Each worker runs under ASan and UBSan and leaves the
input that it works on in shared memory, so that it cannot take it along when it dies.
"""
