"""Clients of a model server: the same calls, values and errors over REST and gRPC. TensorFlow is never loaded."""

import sys

# httpx imports its own command line if click and rich are installed: 0.06 s of CPU time that no request needs.
if "httpx" not in sys.modules:
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # None makes the import fail, as without click
