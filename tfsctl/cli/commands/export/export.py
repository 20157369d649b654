"""`tfsctl export`: write a model as a verified, numbered SavedModel version."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.commands.export.servable_options import (
    KeysOption,
    MetricOption,
    NeighboursOption,
    OutOfVocabularyOption,
    SourceKindOption,
)
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.errors import ExitCode, InvalidInput, TfsctlError

if TYPE_CHECKING:
    from tfsctl.exporter.exported import ExportedModel
    from tfsctl.rollout.comparison.result import Comparison


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A Python file (model.py or model.py:attribute), a .keras or .h5 file, a SavedModel directory, vectors or a "
            "vocabulary.",
        ),
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The name of the model (default: the name of the file)."),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            envvar="TFSCTL_TO",
            metavar="DIR|URL",
            help="The directory for models, or an s3:// or gs:// URL; the version is written to DIR/NAME/VERSION.",
        ),
    ] = ".",
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The number of the version (default: the Unix time)."),
    ] = None,
    allow_breaking: Annotated[
        bool,
        typer.Option("--allow-breaking", help="Publish the version even if it breaks clients of the latest version."),
    ] = False,
    warmup: Annotated[
        str | None,
        typer.Option(
            "--warmup",
            metavar="auto|FILE",
            help="Add warmup requests, which servers run when they load the version: from FILE, or made for "
            "its signatures (auto).",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="After the export, keep only the N highest versions and those that a server of tfsctl serves.",
        ),
    ] = None,
    check_timeout: Annotated[
        float,
        typer.Option(
            "--check-timeout",
            metavar="SECONDS",
            min=1,
            help="The time limit for loading the version, and for each test run.",
        ),
    ] = 300,
    arg: Annotated[
        list[str] | None,
        typer.Option(
            "--arg",
            metavar="NAME=VALUE",
            help="For a Python file: pass an argument to build_model(), or --NAME=VALUE on the file's command "
            "line. May be repeated.",
        ),
    ] = None,
    custom_objects: Annotated[
        list[str] | None,
        typer.Option(
            "--custom-objects",
            metavar="MODULE",
            help="For a Keras file: a module or Python file that defines its custom classes. May be repeated.",
        ),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="For a Keras file: allow the Python code in it to run (Lambda layers). Use it only for files "
            "that you trust.",
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="For a Python file: load these weights into the Keras model."),
    ] = None,
    signature: Annotated[
        list[str] | None,
        typer.Option(
            "--signature",
            metavar="NAME[=NEW]",
            help="Export only this signature, and rename it to NEW if given. May be repeated.",
        ),
    ] = None,
    rename_input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="OLD=NEW",
            help="Rename an input. OLD is its name, or its position counted from 0; write SIGNATURE:OLD for a "
            "signature other than the default. May be repeated.",
        ),
    ] = None,
    rename_output: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="OLD=NEW", help="Rename an output, in the form of --input. May be repeated."),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="N|none",
            help="Fix the number of rows per request, or allow any number (none) (default: as the model declares).",
        ),
    ] = None,
    image_bytes: Annotated[
        bool,
        typer.Option("--image-bytes", help="Accept JPEG or PNG files in the place of pixel values from 0 to 255."),
    ] = False,
    examples: Annotated[
        bool,
        typer.Option("--examples", help="Accept serialized tf.Examples with one feature per input."),
    ] = False,
    classify: Annotated[
        Path | None,
        typer.Option(
            "--classify",
            metavar="LABELS.txt",
            help="Add a signature for `classify`. The file has one class name per line.",
        ),
    ] = None,
    regress: Annotated[
        bool,
        typer.Option("--regress", help="Add a signature for `regress`."),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="latest|N", help="Compare the predictions with those of an earlier version."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="FILE", help="The rows for --compare (default: the samples of the export)."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", metavar="THRESHOLD", help="For --compare: exit code 7 if this is true, e.g. 'agreement<0.98'."
        ),
    ] = None,
    source_kind: SourceKindOption = None,
    keys: KeysOption = None,
    metric: MetricOption = None,
    k: NeighboursOption = None,
    oov: OutOfVocabularyOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the result: no progress and no notes.")
    ] = False,
) -> None:
    """Export a model as a verified SavedModel version.

    \b
    SOURCE is one of
      model.py            a Python file that defines `model`, or a function `build_model()` that returns it
      model.py:attribute  a Python file that defines the model, or a function that returns it, under another name
      model.keras         a Keras file; also .h5
      vectors.npy         vectors with --keys KEYS.txt, to look up and to find the nearest; also .npz and .csv
      vocab.txt           a vocabulary, one token per line, with --oov
      DIR                 a SavedModel directory; it is copied, or rewritten if its signatures change

    \b
    The model is one of
      a Keras model or layer
      a tf.Module whose attribute `signatures` maps names to tf.functions with an input_signature
      a tf.function with an input_signature, or a dict of them
      a keras.export.ExportArchive

    The file may also define `samples`: real inputs, as a list of rows or a dict of columns. Before the version is
    published, it is loaded and run on these samples. They also show whether rows may be merged into batches.

    Inputs and outputs keep the names that you chose: dict keys, names of keras.Input, arguments of `call`, or the name
    of the output layer. Names that Keras generated become `inputs` and `outputs`, or `input_1`, `input_2` and so on.

    \b
    Examples:
      tfsctl export sample_models/amazon_review.py
      tfsctl export model.keras --name reviews --to /srv/models --version 7
      tfsctl export research/model.py:build_small --arg depth=3 --json
      tfsctl export vectors.npy --keys words.txt --metric cosine --k 5
      tfsctl export vocab.txt --oov '[UNK]'
      tfsctl export flowers.keras --image-bytes --classify flowers.txt
    """
    from tfsctl.cli.commands.export import export_comparison
    from tfsctl.cli.output import terminal
    from tfsctl.exporter.log_filter import filter_tensorflow_logs
    from tfsctl.exporter.pipeline import export_model
    from tfsctl.exporter.sources.export_options import (
        ExportOptions,
        one_of,
        parse_batch_size,
        parse_renames,
        parse_signatures,
    )

    export_comparison.check_comparison_options(compare, rows, fail_if, to)
    if keep is not None and "://" in to:
        raise InvalidInput("--keep works only with local directories", hint="remove --keep")
    with filter_tensorflow_logs(show_all=terminal.verbose), terminal.progress(quiet=quiet or as_json) as report:
        options = ExportOptions(
            arguments=arg or (),
            custom_objects=custom_objects or (),
            unsafe=unsafe,
            weights=weights,
            signatures=parse_signatures(signature or ()),
            inputs=parse_renames(rename_input or (), "--input"),
            outputs=parse_renames(rename_output or (), "--output"),
            batch_size=parse_batch_size(batch_size),
            image_bytes=image_bytes,
            examples=examples,
            classify=classify,
            regress=regress,
            kind=one_of(source_kind, "--as", ("embeddings", "vocabulary")),
            keys=keys,
            metric=one_of(metric, "--metric", ("cosine", "dot", "l2")),
            k=k,
            oov=oov,
            check_timeout_s=check_timeout,
        )
        exported = export_model(
            str(source),
            name=name,
            to=to,
            version=version,
            allow_breaking=allow_breaking,
            warmup=warmup,
            options=options,
            report=report,
        )
    compared = None
    if compare is not None:
        compared = export_comparison.compare_with_earlier(exported, compare, rows, fail_if, quiet=quiet or as_json)
    removed, keep_notes = ([], []) if keep is None else _remove_old_versions(exported.base_path, keep)
    exported = replace(exported, notes=(*exported.notes, *keep_notes))
    if as_json:
        comparison = None if compared is None else _comparison_document(compared)
        terminal.answer_json({**_document(exported), "removed_versions": removed, "comparison": comparison})
    else:
        _print_export(exported, removed, quiet=quiet)
        if compared is not None:
            from tfsctl.cli.output.comparison import print_comparison

            print_comparison(compared)
        elif compare is not None:
            terminal.say_note("there is no earlier version to compare with")
    _exit_if_failed(compared)


def _print_export(exported: ExportedModel, removed: Sequence[int], *, quiet: bool) -> None:
    """Print the version and its signatures, and to stderr what the user should know or do next."""
    from tfsctl.cli.output import signature_table, terminal

    for fact in ("model", "version", "path"):
        terminal.answer(f"{fact}: {_document(exported)[fact]}")
    terminal.answer_table(signature_table.COLUMNS, signature_table.rows(exported.signatures.values()))
    if quiet:
        return
    if removed:
        terminal.say(f"removed versions: {', '.join(map(str, removed))}")
    for note in _notes(exported):
        terminal.say_note(note)
    if exported.url is None:
        terminal.say(f"next: {_next_command(exported)}")


def _comparison_document(compared: Comparison) -> dict[str, object]:
    """The comparison for --json. Its modules are loaded only if there is one: an export's CPU time counts."""
    from tfsctl.cli.output.comparison import json_document

    return json_document(compared)


def _exit_if_failed(compared: Comparison | None) -> None:
    """Raise typer.Exit with code 7 if a comparison crossed a threshold."""
    from tfsctl.cli.output import terminal

    if compared is not None and not compared.passed:
        terminal.say(f"{compared.b.name} was published, but did not pass the comparison")
        raise typer.Exit(ExitCode.THRESHOLD)


def _document(exported: ExportedModel) -> dict[str, Any]:
    """The export as JSON values. The keys are documented in docs/reference.md."""
    from tfsctl.cli.output import signature_table

    return {
        "model": exported.name,
        "version": exported.version,
        "path": exported.location,
        "created": exported.created,
        "tensorflow_version": exported.tensorflow_version,
        "keras_version": exported.keras_version,
        "source_sha256": exported.source_sha256,
        "signatures": signature_table.document(exported.signatures),
        "row_independent": exported.row_independent,
        "compared_with": None if exported.compared_with is None else exported.compared_with.as_json(),
        "checks": {check.signature: check.as_json() for check in exported.checks},
        "warmup_requests": exported.warmup_requests,
        "notes": _notes(exported),
        "next": _next_command(exported) if exported.url is None else None,
    }


def _remove_old_versions(base: Path, keep: int) -> tuple[list[int], list[str]]:
    """Remove all but the `keep` highest versions; returns those removed, and notes on those that stay.

    The export has succeeded by now, so whatever fails here is a note.
    """
    from tfsctl.rollout import removal

    try:
        found = removal.prune(base, keep)
    except TfsctlError as error:
        return [], [error.message]
    return list(found.removed), list(found.notes)


def _notes(exported: ExportedModel) -> list[str]:
    check_notes = [f"signature {check.signature}: {note}" for check in exported.checks for note in check.notes]
    return [*exported.notes, *check_notes]


def _next_command(exported: ExportedModel) -> str:
    base = str(exported.base_path)
    return f"tfsctl serve {shlex.quote(base if os.path.isabs(base) else f'./{base}')}"
