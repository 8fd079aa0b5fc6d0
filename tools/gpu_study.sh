#!/usr/bin/env bash
# Set up the torch engine on a machine with a GPU, test it, measure it, and print one table.
# Usage, in the root of the checkout:  tools/gpu_study.sh [OUTPUT]     default: docs/gpu_study.txt
#   STUDY    flags of tools/gpu_study.py, to measure only a part of the table in a few minutes:
#            '--network resnet50 --batches 256'; give it another OUTPUT
#   PYTHON   an interpreter that has PyTorch for this GPU; default: python3
#   WHEELS   a folder of wheels (mxnet 1.9.1, numpy 1.26 and the requirements in setup.cfg), for
#            machines without network access
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
    # It uses the installed PyTorch, and NumPy 1, which MXNet needs and PyTorch accepts.
    "$python" -m venv --system-site-packages $environment
    # If that PyTorch is in a virtual environment, --system-site-packages does not find it.
    "$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' \
        >"$($environment/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pytorch.pth"
    source=()
    [ -z "${WHEELS:-}" ] || source=(--no-index --find-links "$WHEELS")
    $environment/bin/python -m pip install --quiet "${source[@]}" 'setuptools>=68,<81' wheel
    $environment/bin/python -m pip install --quiet --no-build-isolation "${source[@]}" -e '.[cpu]' \
        'numpy>=1.26,<2' pytest
    # For the lines with --decode gpu; without DALI they print that it is missing.
    $environment/bin/python -m pip install --quiet --no-build-isolation "${source[@]}" \
        -e '.[cpu,dali]' 'numpy>=1.26,<2' || echo "gpu_study: DALI cannot be installed, so --decode gpu is not measured" >&2
fi
run=$environment/bin/python

mkdir -p "$(dirname "$output")"
status=0
{
    # After a failed test the table is still measured; the script's exit code is that of the failure.
    failed=0
    date -u +%Y-%m-%d
    git rev-parse --short HEAD 2>/dev/null || echo "no commit: a copy of the checkout"
    nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader || true
    "$run" -m imagenet_trainer.doctor
    "$run" -m pytest -q tests/engines/pytorch/test_torch_gpu.py tests/data/test_dali.py || failed=$?
    # shellcheck disable=SC2086  # flags are words
    "$run" tools/gpu_study.py ${STUDY:-} || failed=$?
    exit $failed
} 2>&1 | tee "$output.part" || status=$?
mv "$output.part" "$output"
exit $status
