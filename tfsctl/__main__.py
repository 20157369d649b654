"""Run tfsctl: `python -m tfsctl` and the `tfsctl` console script."""

from tfsctl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
