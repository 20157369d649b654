#!/bin/sh
# Fail if the tag of this commit has no dated section in CHANGELOG.md: `## [1.2.0] - 2027-01-31`
set -eu
cd "$(dirname "$0")/.."
tag=$(git describe --tags --exact-match --match 'v*') || { echo "error: this commit has no tag like v1.2.0" >&2; exit 1; }
grep -qE "^## \[${tag#v}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md || {
    echo "error: CHANGELOG.md has no section \"## [${tag#v}] - YYYY-MM-DD\"" >&2
    exit 1
}
