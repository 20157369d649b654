"""`tfsctl replay`: send the requests of a recording again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options


@takes_server_options
def replay(
    recording: Annotated[
        Path, typer.Argument(metavar="RECORDING", help="A recording: a file, or the directory of `tfsctl record`.")
    ],
    *,
    speed: Annotated[
        float,
        typer.Option(
            "--speed", min=0, metavar="N", help="Send at N times the recorded rate; 0 sends as fast as possible."
        ),
    ] = 1.0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, metavar="N", help="The maximum number of concurrent requests.")
    ] = 64,
    options: ServerOptions,
    as_json: JsonOption = False,
) -> None:
    """Send recorded requests again.

    Sends them over gRPC to the chosen model, whatever model and version they were recorded for, and reports the status
    codes and latencies of the answers. Ctrl-C ends it with a report.

    \b
    Examples:
      tfsctl replay recordings --model amazon_review
      tfsctl replay recordings --model amazon_review --version 2 --speed 4
    """
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.output import terminal
    from tfsctl.clients.grpc import GrpcClient
    from tfsctl.engines.registry import records
    from tfsctl.programs.signals import StopSignals
    from tfsctl.rollout.recording import replay as replaying

    target = find_target(replace(options, transport="grpc"), records.running())
    requests = replaying.paced_requests(recording, note=terminal.say_note)
    with target.connect() as client, StopSignals() as signals:
        assert isinstance(client, GrpcClient)  # noqa: S101 - the transport is gRPC
        client.status(target.model)  # one clear error if the server or the model is not there
        with terminal.progress(quiet=as_json or not terminal.can_redraw()) as show:
            found = replaying.replay(
                requests,
                lambda log: client.send_recorded(log, target.model),
                speed=speed,
                concurrency=concurrency,
                is_stopped=lambda: signals.received is not None,
                show=lambda count: show(f"{count:,} requests"),
            )
    latency, recorded = replaying.percentiles(found.latencies_ms), replaying.percentiles(found.recorded_ms)
    if as_json:
        terminal.answer_json(
            {
                "model": target.model.name,
                "address": client.address,
                "requests": found.requests,
                "codes": dict(found.codes),
                "late": found.late,
                "seconds": round(found.seconds, 3),
                "latency_ms": latency,
                "recorded_latency_ms": recorded,
            }
        )
        return
    terminal.answer(f"requests: {found.requests:,} in {found.seconds:.1f} s")
    for code, count in found.codes.most_common():
        terminal.answer(f"{code}: {count:,}")
    for title, values in (("latency", latency), ("recorded in the server", recorded)):
        if values is not None:
            terminal.answer(f"{title}: {', '.join(f'{name} {value:.1f} ms' for name, value in values.items())}")
    if found.late:
        terminal.say_note(f"{found.late:,} requests were sent late; a higher --concurrency may help")
