"""`:file PATH`: the rows of a file answered within a conversation, as far as one reads that many."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from tfsctl.cli.repl.reply import Reply
from tfsctl.core.types import Prediction
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.repl.session import Session

MOST_ROWS = 1000


def answer(session: Session, path: str) -> Reply:
    """The reply for a file's rows, in one answer. Raises what reading and asking raise."""
    if session.verb != "predict":
        raise InvalidInput("a file is answered by predict only", hint=":verb predict")
    cut = False

    def ask() -> Prediction:
        nonlocal cut
        prediction, cut = _ask(session, path)
        return prediction

    reply = session.answer(ask)
    if not cut:
        return reply
    note = f"the first {MOST_ROWS} rows; tfsctl predict --file {shlex.quote(path)} answers all"
    return replace(reply, notes=(*reply.notes, note))


def _ask(session: Session, path: str) -> tuple[Prediction, bool]:
    """The answers to the first rows in one prediction, and whether there are more rows."""
    import numpy as np

    from tfsctl.core.batches import request_arrays
    from tfsctl.data.shaping import shape_rows
    from tfsctl.data.sources import open_source

    answers: list[Prediction] = []
    left, more = MOST_ROWS, False
    for whole in shape_rows(open_source(path, session.signature), session.signature):
        if not left:
            more = True
            break
        batch, more = (whole.split(left)[0], True) if len(whole) > left else (whole, False)
        left -= len(batch)
        arrays = request_arrays(batch, session.signature)
        answers.append(
            session.client.predict(session.target.model, arrays, signature=session.signature.name, outputs=session.only)
        )
        if more:
            break
    if not answers:
        raise InvalidInput(f"{path} has no rows")
    outputs = {name: np.concatenate([one.outputs[name] for one in answers]) for name in answers[0].outputs}
    return replace(answers[-1], outputs=outputs, latency_s=sum(one.latency_s for one in answers)), more
