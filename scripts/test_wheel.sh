#!/bin/sh
# Install the wheel of a folder outside this checkout and run quickstart.sh with it: test_wheel.sh VENV DIST
# The packages it depends on come from VENV, so nothing is downloaded twice. The wheel's own files come first.
set -eu
venv=$(cd "$1" && pwd) dist=$(cd "$2" && pwd) scripts=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$venv/bin/python" -m venv --without-pip "$folder/venv"
site=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/dependencies.pth"
"$venv/bin/python" -m pip --disable-pip-version-check --python "$folder/venv/bin/python" \
    install --quiet --no-deps "$dist"/tfsctl-*.whl

cp -r "$scripts/../sample_models" "$folder/"
cd "$folder"
PATH="$folder/venv/bin:$PATH"
where=$(python -c 'import tfsctl; print(tfsctl.__file__)')
case $where in "$site"/*) ;; *) echo "error: tfsctl was imported from $where, not from the wheel" >&2; exit 1 ;; esac
tfsctl --version
test -f "$folder/venv/share/man/man1/tfsctl-predict.1"
test -f "$folder/venv/share/bash-completion/completions/tfsctl"
sh "$scripts/quickstart.sh"
