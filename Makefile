# One word each; CI says the same words. Everything that is missing is installed first, once (scripts/setup).
.PHONY: demo test build bench lint asan fuzz soak clean
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PY := .venv/bin/python
SECONDS ?=
FEED ?=
MINUTES ?= 10

# The demo says how long it took from here to the first book.
export FEEDHANDLER_STARTED := $(or $(FEEDHANDLER_STARTED),$(shell date +%s.%N))

demo:               ## an exchange, a handler, a strategy and a live view; SECONDS=10 ends by itself, FEED=crypto
	@scripts/setup
	@$(PY) scripts/demo.py $(if $(FEED),--feed $(FEED)) $(if $(SECONDS),--seconds $(SECONDS))

test:               ## lint, types, stubs, every test, the sanitizer part, a minute of fuzzing
	@scripts/setup test
	@$(PY) scripts/test.py

build:              ## what is missing, the virtual environment .venv, and the extensions in place
	@scripts/setup

bench:              ## every benchmarks/bench_*.py beside its peers; BENCH_ROUNDS=5, BENCH_OPTIONS="messages=10000"
	@scripts/setup bench
	@$(PY) -m pytest benchmarks -o addopts= -o python_files='bench_*.py' -q -p no:cacheprovider \
	    --benchmark-json=build/bench/pytest-benchmark.json --benchmark-columns=median,iqr,min,max,rounds

lint:               ## ruff and mypy
	@scripts/setup
	@$(PY) scripts/test.py lint format types stubs

asan:               ## the whole suite on a build with AddressSanitizer, UBSan and bounds checks
	@scripts/setup
	@$(PY) scripts/asan.py

fuzz:               ## coverage-guided fuzzing of receiver to book, MINUTES=10
	@scripts/setup
	@$(PY) -m tests.fuzz --seconds $$(($(MINUTES) * 60))

soak:               ## everything at once: loss, outages, sessions, kill -9, thousands of fault scripts; MINUTES=10
	@scripts/setup
	@$(PY) scripts/soak.py --minutes $(MINUTES)

clean:              ## everything that was made, but not .venv
	@rm -rf build dist *.egg-info feedhandler/include .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find feedhandler \( -name '*.so' -o -name '*.pxd' \) -delete
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
