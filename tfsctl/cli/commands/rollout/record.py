"""`tfsctl record`: record the requests of a model on an embedded server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.quantities import parse_duration, parse_share, parse_size
from tfsctl.cli.options.running_server_options import ServerArgument
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.recording.recorded_model import RecordingCounts
    from tfsctl.rollout.recording.recording_session import AnyRecordedModel
    from tfsctl.serving_config.request_logging import RequestLogging


def record(
    name: ServerArgument = None,
    *,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The directory for the recording.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The model; needed if the server has several.")
    ] = None,
    sample: Annotated[
        str, typer.Option("--sample", metavar="SHARE", help="The share of the requests to record: 10% or 0.1.")
    ] = "100%",
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after this time: 60s, 5m, 1h (default: Ctrl-C).")
    ] = None,
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="End at this size of the records: 64m, 1g.")
    ] = "1g",
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="INPUT", help="Do not record this input. May be repeated.")
    ] = None,
    hashed: Annotated[
        list[str] | None,
        typer.Option("--hash", metavar="INPUT", help="Record a keyed hash of this input. May be repeated."),
    ] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Record the answers as well.")] = False,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="[HOST:]PORT",
            help="Record through a proxy on this port, in front of a server of any engine.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="The REST address of the server behind --listen: http://HOST:8501."),
    ] = None,
    grpc_address: Annotated[
        str | None,
        typer.Option("--grpc-address", metavar="HOST:PORT", help="The gRPC address of the server behind --listen."),
    ] = None,
    end: Annotated[bool, typer.Option("--stop", help="End a recording whose command was killed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Record the requests of a model.

    Works with embedded servers that tfsctl started, behind a front too, and with any other server through a proxy
    (--listen), to which clients send their REST and gRPC requests instead. Writes a TFRecord file of PredictionLog
    messages, which is a warmup file too, and an index with the time, version, code and latency of each request. Only
    you can read the files. Ends with Ctrl-C, after --for, or at --max-size.

    \b
    Examples:
      tfsctl record amazon_review --to recordings --sample 10%
      tfsctl record amazon_review --to recordings --for 5m --drop user_id --hash email
      tfsctl record amazon_review --to recordings --listen 8601
      tfsctl record --to recordings --listen 8601 --model amazon_review --url http://gpu-1:8501 --grpc-address gpu-1:8500
      tfsctl record amazon_review --stop
    """
    from tfsctl.cli.output import terminal
    from tfsctl.programs.signals import StopSignals
    from tfsctl.rollout.recording import recorded_model, recording_session

    if end and listen is not None:
        raise InvalidInput("--stop ends a recording without --listen; a proxy ends with its command")
    recorded = recording_session.find_recorded(name, model, listen=listen, url=url, grpc_address=grpc_address)
    if end:
        _end(recorded, as_json=as_json)
        return
    if to is None:
        raise InvalidInput("there is no directory for the recording", hint="--to DIR")
    rate, size = parse_share(sample, "--sample"), parse_size(max_size)
    duration_s = None if duration is None else parse_duration(duration, "--for")
    begun_s = time.monotonic()
    session = recording_session.recording(
        recorded,
        to,
        sample=rate,
        max_size=size,
        drop=drop or (),
        hashed=hashed or (),
        answers=answers,
        note=terminal.say_note,
    )
    with StopSignals() as signals, session as running:
        what = _fields_text(running.inputs, running.logging)
        terminal.say(f"recording {100 * rate:.4g}% of the requests of {recorded.name} to {to}: {what}")
        if listen is not None:
            address = listen if ":" in listen else f"127.0.0.1:{listen}"
            terminal.say(f"send REST and gRPC requests to {address} instead of {recorded.server_name}")
        terminal.say(f"Ctrl-C ends it{'' if duration is None else f'; it ends after {duration}'}")
        with terminal.progress(quiet=as_json or not terminal.can_redraw()) as show:
            reason = recorded_model.watch(
                running.reader,
                max_size=size,
                duration_s=duration_s,
                is_stopped=lambda: signals.received is not None,
                has_ended=recorded.has_ended,
                show=lambda counts: show(_summary(counts)),
            )
    _print_recording(recorded, running.reader.update(), reason, time.monotonic() - begun_s, as_json=as_json)


def _print_recording(
    recorded: AnyRecordedModel, counts: RecordingCounts, reason: str, seconds: float, *, as_json: bool
) -> None:
    """Print what was recorded. `reason` says why it ended, as `recorded_model.watch` does."""
    from tfsctl.cli.output import terminal

    if as_json:
        terminal.answer_json(
            {
                "server": recorded.server_name,
                "model": recorded.name,
                "files": [str(file) for file in counts.files],
                "requests": counts.requests,
                "failed": counts.failed,
                "dropped": counts.dropped,
                "bytes": counts.size,
                "seconds": round(seconds, 3),
                "ended_by": reason,
            }
        )
        return
    terminal.answer(f"recorded: {_summary(counts)}")
    for file in counts.files:
        terminal.answer(f"file: {file}")
    if reason == "server_ended":
        terminal.say_note(f"the server {recorded.server_name} has ended")
    if not counts.requests:
        terminal.say_note("no request was recorded")


def _end(recorded: AnyRecordedModel, *, as_json: bool) -> None:
    from tfsctl.cli.output import terminal

    was = recorded.logging
    recorded.configure(None)
    if as_json:
        terminal.answer_json({"server": recorded.server_name, "model": recorded.name, "was_recording": was is not None})
    elif was is None:
        terminal.answer(f"the requests of {recorded.name} are not recorded")
    else:
        terminal.answer(f"ended the recording of {recorded.name} to {was.filename_prefix}*")


def _fields_text(inputs: Sequence[str], logging: RequestLogging) -> str:
    kept = [name for name in inputs if name not in (*logging.drop, *logging.hash)]
    parts = [f"inputs {', '.join(kept)}" if kept else "no inputs"]
    if logging.hash:
        parts.append(f"hashes of {', '.join(logging.hash)}")
    if logging.drop:
        parts.append(f"without {', '.join(logging.drop)}")
    parts.append("with answers" if logging.answers else "without answers")
    return "; ".join(parts)


def _summary(counts: RecordingCounts) -> str:
    text = f"{counts.requests:,} requests ({counts.failed:,} failed), {counts.size / 1e6:,.1f} MB"
    return f"{text}, {counts.dropped:,} lost" if counts.dropped else text
