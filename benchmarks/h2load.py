"""h2load, the load generator for gRPC (Debian: nghttp2-client): its command line, and the answers that it counts.

Not a benchmark: bulk.py, rollouts.py, serving.py and soak.py use it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from grpc_requests import PREDICT
from ports import HOST
from raw_grpc import framed

from tfsctl.core import protos


def write_body(file: Path, request: protos.PredictRequest) -> Path:
    """Write the body of a gRPC request to a file, and return the file."""
    file.write_bytes(framed(request.SerializeToString()))
    return file


def command(port: int, body: Path, *options: str) -> list[str]:
    """The command line that sends Predict requests with this body."""
    headers = ("-Hcontent-type: application/grpc", "-Hte: trailers")
    return ["h2load", f"-d{body}", *headers, *options, f"http://{HOST}:{port}{PREDICT}"]


def succeeded(report: str) -> int:
    """The number of answers in what h2load printed."""
    found = re.search(r"(\d+) succeeded", report)
    assert found is not None, report
    return int(found[1])
