"""A small guest with RDMA in software, so that the verbs run for real on a machine that has none.

`packages.py` fetches what it is made of, `image.py` lays it out, `boot.py` starts it; `inside.py` is what it runs, and
`cases.py` asks for the outcomes, one boot for all who ask.
"""
