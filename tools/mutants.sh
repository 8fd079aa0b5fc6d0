#!/usr/bin/env bash
# Plant faults in the package and list those that the tests do not notice. Takes about twenty minutes
# on two idle processors. Usage:  tools/mutants.sh [--faults N] [MODULE ...]     see tools/mutants.py
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh test
python tools/mutants.py "$@"
