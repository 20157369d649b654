"""`:file PATH`: predict the first rows of a file in the REPL."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from tfsctl.cli.repl.line_result import LineResult
from tfsctl.core.types import Prediction
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.repl.repl_session import ReplSession

MAX_ROWS = 1000


def predict_file_rows(session: ReplSession, path: str) -> LineResult:
    """Predict up to MAX_ROWS rows as one answer. Raises what reading the file and the client raise."""
    if session.verb != "predict":
        raise InvalidInput(":file works only with the verb predict", hint=":verb predict")
    is_truncated = False

    def send() -> Prediction:
        nonlocal is_truncated
        prediction, is_truncated = _predict_rows(session, path)
        return prediction

    reply = session.answer(send)
    if not is_truncated:
        return reply
    note = f"the first {MAX_ROWS} rows; tfsctl predict --file {shlex.quote(path)} answers all"
    return replace(reply, notes=(*reply.notes, note))


def _predict_rows(session: ReplSession, path: str) -> tuple[Prediction, bool]:
    """The predictions of the first rows, concatenated, and whether the file has more rows."""
    import numpy as np

    from tfsctl.core.batches import request_arrays
    from tfsctl.data.shaping import shape_rows
    from tfsctl.data.sources import open_source

    predictions: list[Prediction] = []
    rows_left, has_more = MAX_ROWS, False
    for whole in shape_rows(open_source(path, session.signature), session.signature):
        if not rows_left:
            has_more = True
            break
        batch, has_more = (whole.split(rows_left)[0], True) if len(whole) > rows_left else (whole, False)
        rows_left -= len(batch)
        arrays = request_arrays(batch, session.signature)
        predictions.append(
            session.client.predict(session.exact_model, arrays, signature=session.signature.name, outputs=session.only)
        )
        if has_more:
            break
    if not predictions:
        raise InvalidInput(f"{path} has no rows")
    outputs = {name: np.concatenate([one.outputs[name] for one in predictions]) for name in predictions[0].outputs}
    return replace(predictions[-1], outputs=outputs, latency_s=sum(one.latency_s for one in predictions)), has_more
