"""`python -m tfsctl.rollout.shadow OPTIONS`: the process of a collector, which a front starts. OPTIONS is JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import datetime

from tfsctl.engines.state_document import from_document
from tfsctl.rollout.shadow.collector_options import CollectorOptions
from tfsctl.rollout.shadow.collector_process import CollectorProcess


async def _run(options: CollectorOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await CollectorProcess(options, _say).serve(stop)


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")  # noqa: DTZ005 - local time, as in other logs
    sys.stderr.flush()


if __name__ == "__main__":
    asyncio.run(_run(from_document(CollectorOptions, json.loads(sys.argv[1]))))
    sys.stderr.flush()
    os._exit(0)  # requests that B never answers must not delay the end
