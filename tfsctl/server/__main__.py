"""Run the model server: `python -m tfsctl.server`."""

from tfsctl.server.main import main

if __name__ == "__main__":
    raise SystemExit(main())
