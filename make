#!/usr/bin/env bash
# `./make demo` is `make demo` on a machine that has no make yet: installs that first.
set -euo pipefail
cd "$(dirname "$0")"
export FEEDHANDLER_STARTED=${FEEDHANDLER_STARTED:-$(date +%s.%N)}
command -v make >/dev/null || scripts/setup --system
exec make "$@"
