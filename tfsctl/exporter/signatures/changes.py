"""Applies the signature options of an export, in this order: choose, batch size, names, images, tf.Examples.

Samples of the source follow the signatures that they are for: their names, the names of their inputs, and other inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfsctl.core.batches import NamedArrays
from tfsctl.errors import InvalidInput
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.signatures import example_signatures, image_inputs
from tfsctl.exporter.signatures.batch_size import set_batch_size
from tfsctl.exporter.signatures.renaming import default_signature, keep_signatures, rename_tensors
from tfsctl.exporter.sources.export_options import ExportOptions


def change_signatures(
    signatures: Sequence[ExportSignature], samples: Samples | None, options: ExportOptions
) -> tuple[Sequence[ExportSignature], Samples | None]:
    """The signatures to write, and the samples for them.

    Raises InvalidInput if the options do not fit the model, NotFound if there is no file of labels.
    """
    labels = example_signatures.read_labels(Path(options.classify)) if options.classify else ()
    signatures = keep_signatures(signatures, options.signatures)
    if samples is not None:
        samples = _with_new_names(samples, options.signatures)
    signatures = set_batch_size(signatures, options.batch_size)
    renamed = rename_tensors(signatures, options.inputs, options.outputs)
    if samples is not None:
        for before, after in zip(signatures, renamed, strict=True):
            if before.name == samples.signature:
                samples = _with_new_inputs(samples, before, after)
    signatures = renamed
    if not (options.image_bytes or options.examples or labels or options.regress):
        return signatures, samples
    default = default_signature(signatures)
    others = [signature for signature in signatures if signature is not default]
    if options.image_bytes:
        original, default = default, image_inputs.image_signature(default)
        samples = _converted(samples, original, lambda columns: image_inputs.encoded_columns(original, columns))
    if labels:
        others.append(example_signatures.classify_signature(default, labels))
    if options.regress:
        others.append(example_signatures.regress_signature(default))
    if options.examples:
        original, default = default, example_signatures.predict_signature(default)
        samples = _converted(samples, original, example_signatures.serialized_rows)
    result = [
        default,
        *(replace(other, notes=()) if other.name in ("classify", "regress") else other for other in others),
    ]
    taken = next((name for name, count in Counter(one.name for one in result).items() if count > 1), None)
    if taken is not None:
        chosen = options.signatures or {one.name: one.name for one in signatures}
        arguments = " ".join(f"--signature {old}={'NEW' if new == taken else new}" for old, new in chosen.items())
        raise InvalidInput(f"the model already has a signature {taken}", hint=f"{arguments} renames the signature")
    return result, samples


def _with_new_names(samples: Samples, names: Mapping[str, str]) -> Samples:
    """Samples after signatures were renamed. `names` are the new names by the old ones, as of `--signature OLD=NEW`."""
    return Samples(
        samples.columns,
        {names.get(name, name): columns for name, columns in samples.others.items()},
        names.get(samples.signature, samples.signature),
    )


def _with_new_inputs(samples: Samples, before: ExportSignature, after: ExportSignature) -> Samples:
    """Samples for a signature after its inputs were renamed."""
    new_names = {old.name: new.name for old, new in zip(before.inputs, after.inputs, strict=True)}
    columns = {
        new_names.get(name, name) if name is not None else None: column for name, column in samples.columns.items()
    }
    return replace(samples, columns=columns)


def _converted(
    samples: Samples | None, signature: ExportSignature, convert: Callable[[NamedArrays], dict[str | None, np.ndarray]]
) -> Samples | None:
    """Samples after a signature was changed; None if they do not fit the original one, or cannot be converted."""
    if samples is None or samples.signature != signature.name:
        return samples
    try:
        return replace(samples, columns=convert(samples.fit(signature.inputs)))
    except InvalidInput:
        return None
