# Makes .venv with this checkout in it and activates it; reuses it while setup.cfg is the same.
# Usage, from the checkout's root:  . tools/setup.sh [extra,...]     e.g. test
# PYTHON names another interpreter than the first of python3, python3.12 ... python3.9 that fits.

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10 python3.9}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.9 to 3.12 found; install one, or name it: PYTHON=/path/to/python3.11" >&2
    return 1
}

# MXNet's CUDA wheel has machine code for compute capabilities 5.0 to 8.9; PyTorch drives newer ones.
choose_engine() {
    local capability newer=
    for capability in $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null); do
        case $capability in
            [5-8].*) echo cu117; return ;;
            9.*|1[0-9].*) newer=,torch ;;
        esac
    done
    echo "cpu$newer"
}

set_up() {
    local extras python wanted
    extras=$(choose_engine)${1:+,$1}
    python=$(find_python) || return 1
    wanted="$extras $("$python" --version) $(cat setup.cfg setup.py tools/setup.sh | sha256sum)"
    if [ "$(cat .venv/fits 2>/dev/null)" != "$wanted" ]; then
        echo "setup: making .venv with $("$python" --version) and imagenet-trainer[$extras]"
        rm -rf .venv
        if ! "$python" -m venv .venv; then
            echo "setup: no virtual environments here; run: apt-get install python3-venv" >&2
            return 1
        fi
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]" || return 1
        # An independent reference for the tests; with its dependencies it would replace our OpenCV.
        case ,$extras, in *,test,*)
            .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
                'gluoncv>=0.10.5,<0.11' || return 1 ;;
        esac
        echo "$wanted" >.venv/fits
    fi
    . .venv/bin/activate
}

set_up "${1:-}"
