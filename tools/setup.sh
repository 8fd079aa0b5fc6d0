# Makes .venv in this checkout, with the checkout and an engine in it, and activates it. Reuses it
# while setup.cfg is the same.
# Usage, from any folder, in bash, zsh or dash:  . tools/setup.sh [extra,...]     e.g. test
#   EXTRAS   the same, for dash, whose `.` takes no arguments
#   PYTHON   an interpreter; default: the first of python3, python3.12 ... python3.9 for which MXNet
#            has a build, then of python3, python3.14, 3.13, 3.15
#   ENGINE   mxnet or torch; default: MXNet where it can drive the devices, else PyTorch
#   VENV     the environment's folder; default: .venv in the checkout

# Sets _setup_file to the path of this file. Shells other than bash and zsh do not name it, but have
# the file open; their subshells do not.
_setup_find_file() {
    local pid rest link
    _setup_file=
    if [ -n "${BASH_VERSION:-}" ]; then
        eval '_setup_file=${BASH_SOURCE[0]}'
    elif [ -n "${ZSH_VERSION:-}" ]; then
        eval '_setup_file=${(%):-%x}'
    else
        read -r pid rest 2>/dev/null </proc/self/stat || pid=$$
        for link in "/proc/$pid/fd"/*; do
            link=$(readlink "$link" 2>/dev/null) || continue
            case $link in */tools/setup.sh) _setup_file=$link ;; esac
        done
        [ -n "$_setup_file" ] || [ ! -f tools/setup.sh ] || _setup_file=tools/setup.sh
    fi
    [ -n "$_setup_file" ]
}

_setup_fits() { # INTERPRETER OLDEST NEWEST
    "$1" -c "import sys; sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" >/dev/null 2>&1
}

_setup_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        _setup_fits "$PYTHON" 9 99 && printf '%s\n' "$PYTHON" && return
        echo "setup: PYTHON=$PYTHON: not an interpreter of Python 3.9 or later" >&2
        return 1
    fi
    for candidate in python3 python3.12 python3.11 python3.10 python3.9; do
        _setup_fits "$candidate" 9 12 && echo "$candidate" && return
    done
    # 3.15 last: onnxruntime, for the extras export and test, has no build for it yet.
    for candidate in python3 python3.14 python3.13 python3.15; do
        _setup_fits "$candidate" 9 99 && echo "$candidate" && return
    done
    echo "setup: no Python 3.9 or later found; install one, or name it: PYTHON=/path/to/python3.11" >&2
    return 1
}

_setup_install() { # ROOT VENV EXTRAS
    (cd "$1" && "$2/bin/python" -m pip install -qq --disable-pip-version-check -e ".[$3]") ||
        return 1
    # An independent reference for the tests; with its dependencies it would replace our OpenCV.
    case ,$3, in *,mxnet,*test,* | *,cpu,*test,* | *,cu117,*test,*)
        "$2/bin/python" -m pip install -qq --disable-pip-version-check --no-deps \
            'gluoncv>=0.10.5,<0.11' ;;
    esac
}

_setup() { # EXTRAS
    local root venv python extras wanted version
    if ! _setup_find_file; then
        echo "setup: this shell does not name its script; run it in the checkout's root" >&2
        return 1
    fi
    root=$(CDPATH='' cd -- "$(dirname -- "$_setup_file")/.." && pwd -P) || return 1
    venv=${VENV:-.venv}
    case $venv in /*) ;; *) venv=$root/$venv ;; esac
    python=$(_setup_python) || return 1
    version=$("$python" --version 2>&1) || return 1
    extras=$(cd "$root" && "$python" -m imagenet_trainer.system.wheels "$1") || return 1
    wanted="$extras, $version, $root, $(cd "$root" &&
        cat setup.cfg setup.py imagenet_trainer/data/images/_jpeg_*.[ch] \
            tools/setup.sh imagenet_trainer/system/wheels.py | cksum)"
    if [ "$(cat "$venv/fits" 2>/dev/null)" != "$wanted" ]; then
        # Only what this script made is removed: it has the file `fits` from its beginning on.
        if [ -e "$venv" ] && [ ! -f "$venv/fits" ]; then
            echo "setup: $venv was not made by this script; move it, or name another: VENV=.venv-2" >&2
            return 1
        fi
        echo "setup: making $venv with $version and imagenet-trainer[$extras]; this downloads packages and takes a minute or more"
        rm -rf "$venv" && mkdir -p "$venv" && echo unfinished >"$venv/fits" || return 1
        if ! "$python" -m venv "$venv"; then
            echo "setup: no virtual environments here; run: apt-get install python3-venv" >&2
            return 1
        fi
        if ! _setup_install "$root" "$venv" "$extras"; then
            echo "setup: pip failed, see above; a mirror of PyPI: PIP_INDEX_URL=https://MIRROR/simple" >&2
            return 1
        fi
        printf '%s\n' "$wanted" >"$venv/fits" || return 1
    fi
    . "$venv/bin/activate"
}

_setup_status=0
if [ -n "${BASH_VERSION:-}${ZSH_VERSION:-}" ]; then
    _setup "${1:-${EXTRAS:-}}" || _setup_status=1
else
    _setup "${EXTRAS:-}" || _setup_status=1 # $1 is of the shell that reads this file
fi
unset -f _setup _setup_find_file _setup_fits _setup_python _setup_install
[ "$_setup_status" = 0 ]
