"""Reads the PredictionLog messages of a recording: of a TFRecord file, or of all such files of a directory.

The last record of a file may be incomplete, because the server that wrote it was killed: the reader ends before it.
Format: tensorflow_serving/apis/prediction_log.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.tfrecord import iter_records
from tfsctl.data.blocks import open_file
from tfsctl.errors import InvalidInput, NotFound

_TRUNCATED = "truncated record"
SUFFIX = ".tfrecord"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One record. `place` names it for messages, `number` counts the records of the file from 0."""

    log: protos.PredictionLog
    file: Path | str
    number: int
    size: int
    fraction_read: float | None = None

    @property
    def place(self) -> str:
        """`record 3 of requests.tfrecord`, counted from 1."""
        name = self.file if isinstance(self.file, str) else self.file.name
        return f"record {self.number + 1} of {name}"


def recording_files(location: Path | str) -> list[Path | str]:
    """The files of a recording, in the order of their names. Raises NotFound if a directory has none."""
    path = Path(location)
    if not path.is_dir():
        return [location]
    found: list[Path | str] = [*sorted(path.glob(f"*{SUFFIX}"))]
    if not found:
        raise NotFound(f"there is no recording in {location}", hint=f"its files end in {SUFFIX}")
    return found


def read_recording(
    location: Path | str, *, note: Callable[[str], None] = lambda _text: None
) -> Iterator[RecordedRequest]:
    """The requests of a recording, in order. `note` is called for a file whose last record is incomplete.

    Raises NotFound, and InvalidInput for a damaged record or one that is not a PredictionLog.
    """
    for file in recording_files(location):
        with open_file(file) as (content, position):
            records, number = iter_records(content), 0
            while True:
                try:
                    record = next(records, None)
                except InvalidInput as error:
                    if error.message.startswith(_TRUNCATED):
                        note(f"{_name(file)} ends with an incomplete record, which is skipped")
                        break
                    raise InvalidInput(f"{_name(file)}: {error.message}") from error
                if record is None:
                    break
                found = RecordedRequest(_parse(record), file, number, len(record), position.fraction())
                if found.log.WhichOneof("log_type") is None:
                    raise InvalidInput(
                        f"{found.place} is not a PredictionLog",
                        hint="a recording comes from tfsctl record, logging_config or tfsctl warmup",
                    )
                yield found
                number += 1


def _parse(record: bytes) -> protos.PredictionLog:
    try:
        return protos.PredictionLog.FromString(record)
    except DecodeError:
        return protos.PredictionLog()


def _name(file: Path | str) -> str:
    return file if isinstance(file, str) else file.name
