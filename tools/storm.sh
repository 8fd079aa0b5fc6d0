#!/usr/bin/env bash
# Kill commands at random moments, damage every kind of file, and print one table.
# Usage, in the root of the checkout: tools/storm.sh [--kills N] [--damages M] [--seed S]
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/tests"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
exec "${PYTHON:-python}" tools/storm.py "$@"
