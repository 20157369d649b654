"""Write the versions of all packages of this environment as a constraints file: write_constraints.py FILE."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path

HEAD = """\
# The versions that the tests last passed with, on Python {python}. Written by `make constraints`.
# Install exactly these: pip install tfsctl -c constraints.txt
"""
OURS = {"tfsctl", "pip", "setuptools", "wheel"}


def main() -> None:
    """Write the file that the command line names."""
    versions = {found.name.lower().replace("_", "-"): found.version for found in distributions()}
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items()) if name not in OURS]
    head = HEAD.format(python=f"{sys.version_info.major}.{sys.version_info.minor}")
    Path(sys.argv[1]).write_text(head + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
