"""Run tfsctl: `python -m tfsctl` and the `tfsctl` console script."""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line. Ctrl-C ends it as quietly while the command is imported as later."""
    try:
        from tfsctl import cli
    except KeyboardInterrupt:
        return 130
    return cli.main(argv)


if __name__ == "__main__":
    raise SystemExit(main())
