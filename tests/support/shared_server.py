"""Run the model server that all workers of a test run share: `shared_server.py FOLDER OWNER_PID MODELS_JSON`.

Writes FOLDER/server.json when the server is ready. Ends the server at SIGTERM, or when the owner (the process that runs
pytest) is gone, and writes FOLDER/ended: empty if the server ended cleanly, otherwise the traceback.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path

import psutil
from model_servers import running_server
from shared import ENDED, RECORD

POLL_S = 0.5


def main() -> None:
    """Run the server until SIGTERM or the end of the owner."""
    folder, models = Path(sys.argv[1]), json.loads(sys.argv[3])
    owner, stop = psutil.Process(int(sys.argv[2])), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    problem = ""
    try:
        with running_server({name: Path(base) for name, base in models.items()}, folder) as server:
            record = {**asdict(server), "models": models, "supervisor": os.getpid()}
            _write(folder / RECORD, json.dumps(record))
            while not stop.wait(POLL_S) and owner.is_running():
                pass
    except BaseException:
        problem = traceback.format_exc()
        raise
    finally:
        _write(folder / ENDED, problem)


def _write(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    draft = path.with_name(f"{path.name}-draft")
    draft.write_text(text)
    draft.rename(path)


if __name__ == "__main__":
    main()
