#!/usr/bin/env bash
# Test and measure PyTorch's engine on a machine with a GPU, and print one table.
# Usage, in the root of the checkout:  tools/gpu_study.sh [--short] [OUTPUT]
#   --short  less than ten minutes
#   OUTPUT   default: docs/gpu_study.txt, with --short docs/gpu_study_short.txt
#   STUDY    more flags of tools/gpu_study.py: '--network resnet50 --batches 256' measures a part,
#            '--device cpu --small' tries every step without a GPU; give these another OUTPUT
#   PYTHON   an interpreter that has PyTorch for this GPU; default: python3
#   WHEELS   a folder of wheels for packages that it lacks, for machines without network access
# It needs PyTorch, NumPy and the packages below. Those that are missing are installed into
# .gpu-study/, and nothing else is changed.
set -euo pipefail
cd "$(dirname "$0")/.."

short=()
if [ "${1:-}" = --short ]; then
    short=(--short)
    shift
fi
output=${1:-docs/gpu_study${short:+_short}.txt}
python=${PYTHON:-python3}
packages=(cv2=opencv-python-headless PIL=Pillow psutil=psutil scipy=scipy tqdm=tqdm)

case " ${STUDY:-} " in
    *" --device cpu "*) needed='import torch' ;;
    *) needed='import torch; assert torch.cuda.is_available()' ;;
esac
if ! "$python" -c "$needed" 2>/dev/null; then
    echo "gpu_study: $python has no PyTorch that finds a GPU; name one that has: PYTHON=..." >&2
    exit 2
fi
export PYTHONPATH=$PWD/.gpu-study:$PWD
missing=()
for package in "${packages[@]}"; do
    "$python" -c "import ${package%%=*}" 2>/dev/null || missing+=("${package#*=}")
done
if [ ${#missing[@]} -gt 0 ]; then
    source=()
    [ -z "${WHEELS:-}" ] || source=(--no-index --find-links "$WHEELS")
    "$python" -m pip install --quiet --no-deps --target .gpu-study ${source[@]+"${source[@]}"} \
        "${missing[@]}"
fi

mkdir -p "$(dirname "$output")"
status=0
{
    # After a failed test the table is still measured; the script's exit code is that of the failure.
    failed=0
    date -u +%Y-%m-%d
    git rev-parse --short HEAD 2>/dev/null || echo "no commit: a copy of the checkout"
    nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader 2>/dev/null || true
    if "$python" -c 'import pytest, hypothesis' 2>/dev/null; then
        # In the short form without those that compile, which take minutes.
        "$python" -m pytest -q -p no:cacheprovider tests/engines/pytorch/test_torch_gpu.py \
            ${short:+-k 'not compiled'} || failed=$?
        [ "$failed" -ne 5 ] || failed=0 # all were skipped, as there is no GPU
    else
        echo "tests: not run, as pytest or hypothesis is missing"
    fi
    # shellcheck disable=SC2086  # flags are words
    "$python" tools/gpu_study.py ${short[@]+"${short[@]}"} ${STUDY:-} || failed=$?
    exit $failed
} 2>&1 | tee "$output.part" || status=$?
mv "$output.part" "$output"
exit $status
