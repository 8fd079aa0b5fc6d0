#!/usr/bin/env bash
# The torch engine on a GPU: sets up what is missing, proves it, measures it, prints one table.
# Usage, from the checkout's root:  tools/gpu_study.sh [OUTPUT]        by default docs/gpu_study.txt
#   STUDY    flags of `benchmark gpu`, for a part of the table where a GPU is lent for minutes:
#            '--network resnet50 --batches 256', with an OUTPUT of its own
#   PYTHON   an interpreter that has PyTorch for this GPU already; by default python3
#   WHEELS   a folder of wheels (mxnet 1.9.1, numpy 1.26 and what setup.cfg asks for), for machines
#            without a network
set -euo pipefail
cd "$(dirname "$0")/.."

output=${1:-docs/gpu_study.txt}
python=${PYTHON:-python3}
environment=.venv-gpu

if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "gpu_study: $python has no PyTorch that finds a GPU; name one that has: PYTHON=..." >&2
    exit 2
fi
if [ ! -x $environment/bin/python ]; then
    # On top of the PyTorch that is there, and with NumPy 1, which MXNet needs and PyTorch takes.
    "$python" -m venv --system-site-packages $environment
    # Where that PyTorch lies in an environment of its own, "system" does not find it.
    "$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' \
        >"$($environment/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pytorch.pth"
    source=()
    [ -z "${WHEELS:-}" ] || source=(--no-index --find-links "$WHEELS")
    $environment/bin/python -m pip install --quiet "${source[@]}" 'setuptools>=68,<81' wheel
    $environment/bin/python -m pip install --quiet --no-build-isolation "${source[@]}" -e '.[cpu]' \
        'numpy>=1.26,<2' pytest
    # For the lines with --decode gpu, which say so where it is not there.
    $environment/bin/python -m pip install --quiet --no-build-isolation "${source[@]}" \
        -e '.[cpu,dali]' 'numpy>=1.26,<2' || echo "gpu_study: no DALI, so no --decode gpu" >&2
fi
run=$environment/bin/python

mkdir -p "$(dirname "$output")"
status=0
{
    # A test that fails is told and ends in this script's exit code; the table is measured all the same.
    failed=0
    date -u +%Y-%m-%d
    git rev-parse --short HEAD 2>/dev/null || echo "no commit: a copy of the checkout"
    nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader || true
    "$run" -m imagenet_trainer.doctor
    "$run" -m pytest -q tests/test_torch_gpu.py tests/test_dali.py || failed=$?
    # shellcheck disable=SC2086  # flags are words
    "$run" -m imagenet_trainer.benchmark gpu ${STUDY:-} || failed=$?
    exit $failed
} 2>&1 | tee "$output.part" || status=$?
mv "$output.part" "$output"
exit $status
