"""Hints in Python's words, and tracebacks that show cause and hint."""

from __future__ import annotations

import pickle
import sys
import traceback

import pytest

import tfsctl
from tfsctl.api.hints import python_errors, python_hint


@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        ("--timeout SECONDS waits longer", "timeout_s=SECONDS waits longer"),
        ("did you mean --signature row?", 'did you mean signature="row"?'),
        ("did you mean --only y?", 'did you mean outputs="y"?'),
        ("choose one with --signature NAME", 'choose one with signature="NAME"'),
        ("remove --version, or choose another number", "remove version, or choose another number"),
        ("tfsctl stop m, or --name ANOTHER_NAME", 'tfsctl stop m, or name="ANOTHER_NAME"'),
        ("tfsctl serve PATH --name NAME", "tfsctl serve PATH --name NAME"),
        ("--column area=size names the one to take", 'columns={"area": "size"} names the one to take'),
        ("tfsctl classify FEATURE=VALUE", 'client.classify({"FEATURE": VALUE})'),
        ("use tfsctl predict for it", "use client.predict(…)"),
        ("tfsctl classify --model house FEATURE=VALUE", 'client.classify({"FEATURE": VALUE})'),
        ("tfsctl predict --model 'a b' 1.0", "client.predict(…)"),
        ("tfsctl predict --model house --signature row 1.0", 'client.predict(…, signature="row")'),
        ("tfsctl predict --signature row 1.0", 'client.predict(…, signature="row")'),
        ("tfsctl predict --file f.csv", "tfsctl predict --file f.csv"),
        ("--name a_b", 'name="a_b"'),
        ("tfsctl serve ./m", 'tfsctl.serve("./m")'),
        ("--max-answer SIZE allows larger answers", "max_answer_bytes=SIZE allows larger answers"),
        ("use gRPC, which supports every dtype: --grpc", 'use gRPC, which supports every dtype: tfsctl.connect("HOST:PORT")'),
        ("remove --grpc, or give the gRPC port: --port PORT",
         'tfsctl.connect("HOST:PORT") uses gRPC, tfsctl.connect("http://HOST:PORT") uses REST'),
        ("install Docker, or use --engine embedded", 'install Docker, or use engine="embedded"'),
        ("--batch-size 1 sends each row in its own request", "batch_size=1 sends each row in its own request"),
        ("PEM is text that starts with -----BEGIN; convert it first", "PEM is text that starts with -----BEGIN; convert it first"),
        ("--on-error skip goes on", "correct the row, or remove it from the file"),
        ("--dry-run prints it", "--dry-run prints it"),
        ("", ""),
    ],
)  # fmt: skip
def test_options_become_keyword_arguments(hint: str, wanted: str) -> None:
    """Commands stay as they are."""
    assert python_hint(hint) == wanted


def test_tracebacks_show_cause_and_hint() -> None:
    """Python 3.11 and later print notes; in Python 3.10 they are part of the message. Pickling keeps them."""
    error = tfsctl.NotFound("no such thing", hint="--timeout 5")
    error.cause = "it was never there"
    with pytest.raises(tfsctl.NotFound), python_errors(), python_errors():
        raise error
    other = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    wanted = ["tfsctl.errors.NotFound: no such thing", "it was never there", "hint: timeout_s=5"]
    for one in (error, other):
        assert "".join(traceback.format_exception_only(type(one), one)).splitlines() == wanted
    assert error.message == "no such thing"
    assert sys.version_info < (3, 11) or str(error) == "no such thing"


def test_tracebacks_show_one_error() -> None:
    """The error of the library below stays at hand as the context."""

    @python_errors()
    def fail() -> None:
        try:
            int("inside")
        except ValueError as error:
            raise tfsctl.NotFound("outside", hint="--timeout 5") from error

    with pytest.raises(tfsctl.NotFound) as caught:
        fail()

    assert "ValueError" not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value.__context__, ValueError)
    assert caught.value.hint == "timeout_s=5"
