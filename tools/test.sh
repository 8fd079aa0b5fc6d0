#!/usr/bin/env bash
# Everything that has to hold: style, types, tests, the README's commands. --all adds slow studies.
set -euo pipefail
cd "$(dirname "$0")/.."
all=
[ "${1:-}" != --all ] || all=1
. tools/setup.sh test

say() {
    echo
    echo "\$ $*"
    "$@"
}

say ruff check .
say ruff format --check .
say mypy
if command -v lint-imports >/dev/null; then say lint-imports; fi  # for Python 3.10 and later
# A file of tests a process, in the order of tests/conftest.py. Many tests wait for processes that
# they start, so one more runs than there are processors.
workers=$(($(nproc) + 1))
# Tests start many processes, and each would compile the package again.
unset PYTHONDONTWRITEBYTECODE
# Memory that a test has freed stays with the process: getting it again took 5 % of the time.
export MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=64000000
if [ "$all" ]; then
    # What only slow tests need: those of the site and of corrupted images are skipped without it.
    say pip --disable-pip-version-check install -qq -e '.[docs,corruptions]'
    say pip --disable-pip-version-check install -qq --no-deps 'imagecorruptions-imaug>=1.1.5,<2'
    say pytest -n $workers --dist loadfile --no-loadscope-reorder -m "slow or not slow"
else
    say pytest -n $workers --dist loadfile --no-loadscope-reorder
fi
# The same commands without MXNet: NumPy 2, the newest OpenCV, PyTorch, in another environment.
without_mxnet() ( # ENVIRONMENT [INTERPRETER]
    export ENGINE=torch VENV=$1 PYTHON=${2:-}
    . tools/setup.sh test
    python --version
    python -m pip --disable-pip-version-check freeze | grep -E '^(numpy|opencv.*|torch|mxnet.*)=='
    say pytest -n $workers --dist loadfile tests/graph/test_networks.py tests/test_fit.py \
        tests/eval/test_evaluate_*.py tests/test_predict.py tests/test_export.py
    [ "$all" ] || return 0
    # What networks and parameters are compared with; it brings the torchvision of this PyTorch.
    say python -m pip --disable-pip-version-check install -qq timm \
        "torch==$(python -c 'from importlib.metadata import version; print(version("torch"))')"
    say pytest -n $workers -m "slow or not slow" tests/convert/test_other_weights.py
)
without_mxnet .venv-torch
if [ "$all" ]; then
    for version in 3.13 3.14; do # for which there is no MXNet
        for newer in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
            "$newer" -c '' 2>/dev/null || continue
            without_mxnet ".venv-$version" "$newer"
            break
        done
    done
    folder=$(mktemp -d)
    (export ENGINE=torch VENV=.venv-torch && say bash tools/demo.sh "$folder")
    rm -r "$folder"
fi
say bash tools/demo.sh
