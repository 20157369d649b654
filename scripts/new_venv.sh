#!/bin/sh
# Make a virtual environment with a pip that knows dependency groups: new_venv.sh PYTHON DIRECTORY
set -eu
python=$1 directory=$2

command -v "$python" >/dev/null || {
    echo "error: there is no $python; install Python 3.10 to 3.13, or say which: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
    echo "error: $python is $("$python" --version 2>&1); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 ..." >&2
    exit 1
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "error: $python cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv" >&2
    exit 1
}
"$python" -m venv "$directory"
"$directory/bin/python" -m pip --disable-pip-version-check install --quiet --upgrade 'pip>=25.1'
