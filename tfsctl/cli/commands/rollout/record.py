"""`tfsctl record`: record the requests of a model on an embedded server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.output_options import Json
from tfsctl.cli.options.quantities import parse_duration, parse_share
from tfsctl.cli.options.running_server_options import ServerName
from tfsctl.cli.options.sizes import parse_size
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.recording.recorded_model import Counts, RecordedModel
    from tfsctl.serving_config.request_logging import RequestLogging

_PRIVATE = 0o700


def record(
    name: ServerName = None,
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
    end: Annotated[bool, typer.Option("--stop", help="End a recording whose command was killed.")] = False,
    as_json: Json = False,
) -> None:
    """Record the requests of a model.

    Works with embedded servers that tfsctl started. Writes a TFRecord file of PredictionLog messages, which is a warmup
    file too, and an index with the time, version, code and latency of each request. Only you can read the files. Ends
    with Ctrl-C, after --for, or at --max-size.

    \b
    Examples:
      tfsctl record amazon_review --to recordings --sample 10%
      tfsctl record amazon_review --to recordings --for 5m --drop user_id --hash email
      tfsctl record amazon_review --stop
    """
    from tfsctl.cli.output import terminal
    from tfsctl.engines.registry import records, server_choice
    from tfsctl.programs.signals import StopSignals
    from tfsctl.rollout.recording import recorded_model
    from tfsctl.serving_config.request_logging import RequestLogging

    server = server_choice.choose_server(records.running(), model=model, name=name)
    recorded = recorded_model.RecordedModel(server, model)
    if end:
        _end(recorded, as_json=as_json)
        return
    if to is None:
        raise InvalidInput("there is no directory for the recording", hint="--to DIR")
    rate, size = parse_share(sample, "--sample"), parse_size(max_size)
    duration_s = None if duration is None else parse_duration(duration, "--for")
    if recorded.logging is not None:
        raise InvalidInput(
            f"the requests of {recorded.name} are already being recorded, to {recorded.logging.filename_prefix}*",
            hint=f"tfsctl record {server.name} --model {recorded.name} --stop",
        )
    metadata = recorded.metadata()
    for note in recorded_model.check_rules(metadata, drop or (), hashed or ()):
        terminal.say(f"note: {note}")
    try:
        to.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot create {to}: {error.strerror}") from error
    logging = RequestLogging(
        recorded_model.file_prefix(to, recorded.name),
        rate,
        answers=answers,
        index=True,
        drop=tuple(drop or ()),
        hash=tuple(hashed or ()),
        max_total_bytes=size,
    )
    names = sorted({spec.name for signature in metadata.signatures.values() for spec in signature.inputs})
    reader, begun_s = recorded_model.IndexReader(to, recorded.name), time.monotonic()
    with StopSignals() as signals, _recording(recorded, logging) as has_ended:
        terminal.say(
            f"recording {100 * rate:.4g}% of the requests of {recorded.name} to {to}: {_fields_text(names, logging)}"
        )
        terminal.say(f"Ctrl-C ends it{'' if duration is None else f'; it ends after {duration}'}")
        with terminal.progress(quiet=as_json or not terminal.can_redraw()) as show:
            reason = recorded_model.watch(
                reader,
                max_size=size,
                duration_s=duration_s,
                is_stopped=lambda: signals.received is not None,
                has_ended=has_ended,
                show=lambda counts: show(_summary(counts)),
            )
    counts = reader.update()
    if as_json:
        terminal.answer_json(
            {
                "server": server.name,
                "model": recorded.name,
                "files": [str(file) for file in counts.files],
                "requests": counts.requests,
                "failed": counts.failed,
                "dropped": counts.dropped,
                "bytes": counts.size,
                "seconds": round(time.monotonic() - begun_s, 3),
                "ended_by": reason,
            }
        )
        return
    terminal.answer(f"recorded: {_summary(counts)}")
    for file in counts.files:
        terminal.answer(f"file: {file}")
    if reason == "server_ended":
        terminal.say(f"note: the server {server.name} has ended")
    if not counts.requests:
        terminal.say("note: no request was recorded")


@contextlib.contextmanager
def _recording(recorded: RecordedModel, logging: RequestLogging) -> Iterator[Callable[[], bool]]:
    """Record inside the block; yields whether the server has ended."""
    from tfsctl.engines.registry import records

    def has_ended() -> bool:
        return records.has_ended(recorded.server)

    recorded.configure(logging)
    try:
        yield has_ended
    finally:
        if not has_ended():
            recorded.configure(None)


def _end(recorded: RecordedModel, *, as_json: bool) -> None:
    from tfsctl.cli.output import terminal

    was = recorded.logging
    recorded.configure(None)
    if as_json:
        terminal.answer_json({"server": recorded.server.name, "model": recorded.name, "was_recording": was is not None})
    elif was is None:
        terminal.answer(f"the requests of {recorded.name} are not recorded")
    else:
        terminal.answer(f"ended the recording of {recorded.name} to {was.filename_prefix}*")


def _fields_text(inputs: list[str], logging: RequestLogging) -> str:
    kept = [name for name in inputs if name not in (*logging.drop, *logging.hash)]
    parts = [f"inputs {', '.join(kept)}" if kept else "no inputs"]
    if logging.hash:
        parts.append(f"hashes of {', '.join(logging.hash)}")
    if logging.drop:
        parts.append(f"without {', '.join(logging.drop)}")
    parts.append("with answers" if logging.answers else "without answers")
    return "; ".join(parts)


def _summary(counts: Counts) -> str:
    text = f"{counts.requests:,} requests ({counts.failed:,} failed), {counts.size / 1e6:,.1f} MB"
    return f"{text}, {counts.dropped:,} lost" if counts.dropped else text
