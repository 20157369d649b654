#!/bin/sh
# Export, serve, query over REST, gRPC and curl, and stop the server, in a temporary folder that is removed at the end.
# Run by `make quickstart`, which puts tfsctl on PATH.
set -eu
workspace=$(mktemp -d)
export TFSCTL_STATE_DIR="$workspace/state" # servers that run already are not touched
trap 'tfsctl stop --all >/dev/null 2>&1 || true; rm -rf "$workspace"' EXIT
trap 'exit 130' INT TERM HUP

show() { # a command line as it would be typed
    printf '\n$'
    for word; do
        case $word in *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
}

step() { # show a command line, and run it
    show "$@"
    "$@"
}

step tfsctl export sample_models/amazon_review.py --to "$workspace"
set -- tfsctl serve "$workspace/amazon_review" --engine embedded --detach --rest-port 0 --grpc-port 0
show "$@"
"$@" >"$workspace/ready"
cat "$workspace/ready"
step tfsctl predict "This movie is great! :D"
step tfsctl predict --grpc "This movie is great! :D" "What a waste of time."
if command -v curl >/dev/null; then
    pasted=$(sed -n 's/^ *\(curl .*\)/\1/p' "$workspace/ready")
    printf '\n$ %s\n' "$pasted"
    eval "$pasted" --fail --silent --show-error
    echo
else
    printf '\n(curl is not installed: its step is left out)\n'
fi
step tfsctl metadata
step tfsctl stop amazon_review
printf '\nAll of it works. Yours to try: . .venv/bin/activate, then tfsctl --help\n'
