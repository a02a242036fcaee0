#!/usr/bin/env bash
# Runs the fast tests and a short fit of each kind of model with the lowest versions that setup.cfg promises, on the oldest
# Python here, and with the newest of everything, on every Python here. Arguments are for pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()

check() { # NAME PYTHON [PIP OPTION ...] -- [PYTEST ARGUMENT ...]
    local environment=.venv-$1 start=$SECONDS options=() outcome=passed
    local python=$environment/bin/python
    "$2" -m venv "$environment"
    shift 2
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    "$python" -m pip install --quiet "${options[@]}" ".[test]"
    "$python" -m pytest --numprocesses auto --dist loadfile --quiet -m "not slow or versions" "$@" || outcome=FAILED
    [ "$outcome" = passed ] || failed+=("$environment")
    echo "$environment $outcome in $((SECONDS - start)) s: $("$python" -c \
        'import platform, torch; print("Python", platform.python_version(), "with torch", torch.__version__)')"
}

pythons=()
for minor in 11 12 13 14; do
    # A Python of pyenv need not be active; the link of one that is not active fails when it is started.
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python; do
        if "$python" -c "" 2> /dev/null; then
            pythons+=("$minor $python")
            break
        fi
    done
done
[ ${#pythons[@]} -gt 0 ] || { echo "Python 3.11 or newer is needed, and none was found; add one to PATH." >&2; exit 1; }

read -r minor python <<< "${pythons[0]}"
check "lowest-3.$minor" "$python" --constraint constraints-lowest.txt -- "$@"
for found in "${pythons[@]}"; do
    read -r minor python <<< "$found"
    check "newest-3.$minor" "$python" --upgrade --upgrade-strategy eager -- "$@"
done

[ ${#failed[@]} -eq 0 ] || { echo "Failed: ${failed[*]}" >&2; exit 1; }
