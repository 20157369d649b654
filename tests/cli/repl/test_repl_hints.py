"""Hints in the REPL name its commands, not options of `tfsctl`."""

from __future__ import annotations

import pytest

from tfsctl.cli.repl.repl_hints import repl_hint


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("did you mean --signature text?", "did you mean :signature text?"),
        ("choose one with --signature NAME", "choose one with :signature NAME"),
        ("use gRPC, which supports every dtype: --grpc", "use gRPC, which supports every dtype: :grpc"),
        ("add --grpc", ":grpc"),
        ("--timeout SECONDS waits longer", ":set timeout SECONDS waits longer"),
        ("did you mean --only score?", "did you mean :set only score?"),
        ("remove --top and --labels", "reset both with :set top and :set labels"),
        ("--text sends it as text", ":text TEXT sends it as text"),
        ("its inputs are x; tfsctl metadata shows the model's inputs and outputs", "its inputs are x; :metadata shows the model's inputs and outputs"),
        ("check the files with: tfsctl metadata PATH", "check the files with: tfsctl metadata PATH"),
        ("tfsctl regress --signature r FEATURE=VALUE", ":verb regress, then FEATURE=VALUE"),
        ("tfsctl predict area=1.0", ":verb predict, then area=1.0"),
        ("tfsctl predict --model house area=1.0", ":verb predict, then area=1.0"),
        ("tfsctl predict --model 'a house' --signature s area=1.0", ":verb predict, then area=1.0"),
        ("tfsctl regress --model house --signature r FEATURE=VALUE", ":verb regress, then FEATURE=VALUE"),
        ("tfsctl predict --example FEATURE=VALUE builds a tf.Example", "FEATURE=VALUE builds a tf.Example"),
        ("for example: 1.0", "for example: 1.0"),
        ('for example: "Great movie"', "for example: Great movie"),
        ('for example: area=1.0 city="New York"', "for example: area=1.0 city=New York"),
        ("""for example: '["a b"]'""", 'for example: ["a b"]'),
        ('for example: zip="8001"', 'for example: zip="8001"'),
        ("--column x=COLUMN names the one to take", "outside the REPL: --column x=COLUMN names the one to take"),
        ("", ""),
    ],
)  # fmt: skip
def test_options_become_commands(hint: str, shown: str) -> None:
    """What has no command says that it is for outside the REPL."""
    assert repl_hint(hint) == shown
