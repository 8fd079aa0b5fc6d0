#!/usr/bin/env bash
# Test and measure PyTorch's engine on a machine with a GPU, and print one table.
# Usage, in the root of the checkout:  tools/gpu_study.sh [--short] [OUTPUT]
#   --short  at most nine minutes, of which tests have two
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
limit=1800
if [ "${1:-}" = --short ]; then
    short=(--short)
    limit=110
    shift
fi
output=${1:-docs/gpu_study${short:+_short}.txt}
python=${PYTHON:-python3}
packages=(cv2=opencv-python-headless PIL=Pillow psutil=psutil scipy=scipy tqdm=tqdm
    pytest=pytest pluggy=pluggy iniconfig=iniconfig packaging=packaging pygments=Pygments
    hypothesis=hypothesis sortedcontainers=sortedcontainers)

case " ${STUDY:-} " in
    *" --device cpu "*) needed='import torch' ;;
    *) needed='import torch; assert torch.cuda.is_available()' ;;
esac
if ! "$python" -c "$needed"; then
    echo "gpu_study: $python has no PyTorch that finds a GPU; name one that has: PYTHON=..." >&2
    exit 2
fi
export PYTHONPATH=$PWD/.gpu-study:$PWD
missing=()
for package in "${packages[@]}"; do
    "$python" -c "import ${package%%=*}" 2>/dev/null || missing+=("${package#*=}")
done
if [ ${#missing[@]} -gt 0 ]; then
    install=("$python" -m pip install --quiet --no-deps --no-input --retries 0 --timeout 5
        --target .gpu-study)
    [ -z "${WHEELS:-}" ] || install+=(--no-index --find-links "$WHEELS")
    if ! "${install[@]}" "${missing[@]}"; then
        echo "gpu_study: not all of ${missing[*]} could be installed; what needs them is left out" >&2
        for package in "${missing[@]}"; do
            [ -z "${WHEELS:-}" ] || "${install[@]}" "$package" || true
        done
    fi
fi

mkdir -p "$(dirname "$output")"
status=0
{
    # After a failed test the table is still measured; the script's exit code is that of the failure.
    failed=0
    date -u +%Y-%m-%d
    git rev-parse --short HEAD 2>/dev/null || echo "no commit: a copy of the checkout"
    nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader 2>/dev/null || true
    if "$python" -c 'import pytest, hypothesis, cv2' 2>/dev/null; then
        # In the short form without those that compile, which take minutes. A test that hangs shows
        # its stacks after a minute; SIGINT has pytest print what has failed until then.
        timeout -s INT -k 10 $limit "$python" -m pytest -q --tb=short -p no:cacheprovider \
            -o faulthandler_timeout=60 tests/engines/pytorch/test_torch_gpu.py \
            ${short:+-k 'not compiled'} || failed=$?
        [ "$failed" -ne 5 ] || failed=0 # all were skipped, as there is no GPU
    else
        echo "tests: not run, as pytest, hypothesis or OpenCV is missing"
    fi
    # shellcheck disable=SC2086  # flags are words
    "$python" tools/gpu_study.py ${short[@]+"${short[@]}"} ${STUDY:-} || failed=$?
    exit $failed
} 2>&1 | tee "$output.part" || status=$?
mv "$output.part" "$output"
exit $status
