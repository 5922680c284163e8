# shellcheck shell=bash
# Sourced by run.sh and test.sh: makes the environment from requirements.lock where it
# is missing, interrupted or out of date, and puts it first on the PATH.
#
#   PYTHON=python3.12      the interpreter to build it with (default: the newest found)
#   ACCELERATOR=cuda13     also cuda12 or tpu; such an environment has another folder
#
# A .venv that these scripts did not make is used as it is and never touched.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
environment=".venv${ACCELERATOR:+-$ACCELERATOR}"
stamp="$environment/abaw_jax.stamp"

fail() {
    echo "abaw_jax: $*" >&2
    exit 1
}

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The interpreter behind a name; of the environment itself, which is about to be
# replaced and may be activated, the one that it was made with.
locate() {
    local found
    found="$(command -v "$1")"
    if [[ "$found" == "$PWD/$environment/"* ]]; then
        "$found" -c 'import sys; print(sys._base_executable)'
    else
        echo "$found"
    fi
}

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_recent "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
        locate "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if is_recent "$candidate"; then
            locate "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer on the PATH; install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# What an environment is made of. Without PYTHON, an existing one keeps its interpreter.
wanted() {
    "$1" -c 'import hashlib, sys
lock = open("requirements.lock", "rb").read()
print("%d.%d" % sys.version_info[:2], hashlib.sha256(lock).hexdigest())'
}

is_ready() {
    local python="$environment/bin/python"
    is_recent "$python" || return 1
    [[ -e "$stamp" ]] || return 0
    [[ "$(cat "$stamp")" == "$(wanted "${PYTHON:-$python}" 2>/dev/null)" ]]
}

install() {
    local python
    python="$(find_python)" || exit 1
    [[ ! -e "$environment" || -e "$stamp" ]] ||
        fail "$environment is not ours and has no Python 3.11 or newer; move it away."
    echo "abaw_jax: making $environment from requirements.lock with $python (once;" \
        "usually 1 to 5 minutes, about 2 GB)" >&2
    rm -rf "$environment"
    # The stamp comes first and is completed last: an interrupted installation carries
    # an unfinished one and is made again.
    mkdir "$environment" && echo unfinished >"$stamp"
    "$python" -m venv "$environment" ||
        fail "$python cannot make environments; on Debian and Ubuntu: apt install python3-venv"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps --requirement requirements.lock ||
        fail "the installation failed (see above); the next call starts it again."
    if [[ -n "${ACCELERATOR:-}" ]]; then
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint requirements.lock "jax[$ACCELERATOR]" ||
            fail "jax[$ACCELERATOR] could not be installed; known are cuda12, cuda13 and tpu."
    fi
    wanted "$python" >"$stamp"
}

if ! is_ready; then
    # Tasks of an array start at once: one installs, and the others wait for it.
    if command -v flock >/dev/null; then
        exec 9>".venv${ACCELERATOR:+-$ACCELERATOR}.lock"
        flock 9
    fi
    is_ready || install
    exec 9>&-
fi
PATH="$PWD/$environment/bin:$PATH"
