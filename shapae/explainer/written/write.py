"""Explanations of all rows of a table, written block by block."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from shapae.errors import ModelError, OutputError, TooLarge
from shapae.explainer.chunks import result_bytes
from shapae.explainer.core import Core
from shapae.explainer.files import plain_name
from shapae.explainer.inputs import player_names
from shapae.explainer.written.arrays import to_arrays
from shapae.explainer.written.blocks import ExplanationBlocks, block_files, name_blocks
from shapae.explainer.written.explain import alone, explain_rows
from shapae.explainer.written.names import are_of_one_type, check_text
from shapae.heads.arguments import describe_head
from shapae.tables.table import Table, TableStream, read_table
from shapae.utils.arguments import read_arguments
from shapae.utils.fingerprint import fingerprint, fingerprint_state, fingerprint_text
from shapae.utils.memory import format_bytes
from shapae.utils.parallel import count_workers, parallel_map
from shapae.utils.resumable import Resumable, nearly, refuse_others

# Part of the memory of a worker that the values of a block may take: they are held with their errors and with the rows,
# and all of these again as the columns of a table.
SHARE = 1 / 64
# Largest such part, in work that is continued with more workers or less memory.
LARGEST_SHARE = 1 / 16
# Part of the memory of a worker for explaining a block.
EXPLAINING = 3 / 4
# Smallest number of blocks, so that little is lost, as long as they have this many rows.
MIN_BLOCKS, MIN_ROWS = 16, 2**8
# Number of rows whose scores tell one model and head from others.
TOLD_APART = 8


def write_blocks(explainer: Core, X: Any, folder: Path, *, format: str, timeout: float | None) -> ExplanationBlocks:
    """Explain the rows of ``X`` block by block; see ``Explainer.write``.

    Raises:
        OutputError: The workers wrote elsewhere; for others see ``Explainer.write``.
    """
    folder = folder.absolute()  # workers may be in other folders
    refuse_others(folder)
    jobs, table = count_workers(explainer.n_jobs, timeout=timeout), read_table(X, "rows")
    with explainer._running(table) as (names, rows, game):
        message = explainer._check_gradients(names, rows)
        outputs, players = explainer._score.outputs(names), player_names(game, names)
        check_text({"features": players, "outputs": outputs, "rows": table.row_names})
        plan = _plan(explainer, len(rows), jobs) | {"format": format, "feature_names": players}
        plan["output_names"] = outputs[0] if len(outputs) == 1 else outputs
        plan["names_as_text"] = not are_of_one_type(table.row_names)
        files = block_files(plan)  # of a format that there is, before all rows are read
        task = _describe(explainer, rows)
    explainer._warn(message, stacklevel=4)
    store = Resumable(folder, task | {"format": format, "features": names}, plan, files)
    n_jobs = _fitting_jobs(explainer, store.plan["height"], jobs)
    blocks = name_blocks(store.plan)
    missing = [name for name in blocks if not store.is_finished(name)]
    results = parallel_map(
        partial(_write_block, alone(explainer, explainer.memory * EXPLAINING / min(n_jobs, jobs)), store),
        lambda number: (missing[number], blocks[missing[number]].start, table.block(blocks[missing[number]])),
        len(missing),
        n_jobs=explainer.n_jobs if n_jobs == jobs else n_jobs,
        progress=explainer.progress,
        timeout=timeout,
        label="writing",
    )
    for _ in results:
        pass
    store.sweep()  # of workers that were killed
    written = ExplanationBlocks(folder)
    if written.missing:
        raise OutputError(
            f"the workers wrote {len(written.missing)} of {len(written)} blocks where this machine does not see them. "
            f"Give a folder that all machines share, by the same path, instead of {folder}."
        )
    explainer._warn(_summary(written), stacklevel=4)
    return written


def _summary(written: ExplanationBlocks) -> str | None:
    """Describe the blocks in which the values do not add up; None if there are none."""
    for name, message in written.messages.items():
        rows = written.names[name]
        return (
            f"in {len(written.messages)} of {len(written)} blocks, first in that of the rows {rows.start} to "
            f"{rows.stop - 1}: {message}"
        )
    return None


def _plan(explainer: Core, n: int, jobs: int) -> dict[str, Any]:
    """Cut n rows into blocks whose arrays fit the memory of each worker."""
    room = explainer.memory * SHARE / jobs
    height = min(max(-(-n // MIN_BLOCKS), MIN_ROWS), int(room // _row_bytes(explainer)))
    return {"rows": n, "height": max(1, height)}


def _row_bytes(explainer: Core) -> int:
    """Count the bytes of a row or of its values, whichever are more: groups of many features have few values."""
    return max(result_bytes(explainer._game), explainer._score.original.nbytes)


def _fitting_jobs(explainer: Core, height: int, jobs: int) -> int:
    """Lower the number of workers until each can hold a block, which may be of an earlier plan for fewer workers.

    Raises:
        TooLarge: Not even one worker can.
    """
    block = height * _row_bytes(explainer)
    fitting = int(explainer.memory * LARGEST_SHARE // block)
    if height > 1 and not fitting:
        raise TooLarge(
            f"the blocks of this folder have {height} rows, with values of {format_bytes(block)}, for which "
            f"memory='{format_bytes(explainer.memory)}' is too little. Continue with "
            f"memory='{format_bytes(-(-block // LARGEST_SHARE))}', or give a new folder."
        )
    return min(jobs, max(1, fitting))


def _describe(explainer: Core, rows: TableStream) -> dict[str, Any]:
    """Describe the work, so that other work is told from it."""
    score, game, table = explainer._score, explainer._game, rows.rows
    background = [each for each in (explainer.background, game.weights) if each is not None]
    with torch.no_grad():
        scores = score.self_scores(rows[:TOLD_APART]).flatten()
    named = None if table.row_names is None else fingerprint_text("\0".join(map(str, table.row_names)))
    return {
        "row names": named,
        "model": fingerprint_state(score.autoencoder),
        "layers": fingerprint_text(f"{score.autoencoder.model} {score}"),
        "head": [explainer.head, describe_head(score.head)],
        "backend": [explainer.backend, read_arguments(explainer._given_backend)],
        "background": fingerprint(background),
        "rows": fingerprint(table.dense(block) for block in table.blocks()),
        "scores of some rows": nearly(scores.tolist(), torch.finfo(scores.dtype).eps ** 0.5),  # on any machine
        **{name: getattr(explainer, name) for name in ("seed", "tolerance", "groups")},
        "source": score.source,
    }


def _write_block(explainer: Core, store: Resumable, name: str, first_row: int, rows: Table) -> None:
    """Explain and write a block of rows, of which the first is ``first_row`` in its table.

    A task that is tried again after workers were lost may have been done before.
    """
    if store.is_finished(name):
        return
    try:
        explanation, message = explain_rows(explainer, rows, first_row)
    except Exception as error:
        error.add_note(f"this was in the rows {first_row} to {first_row + len(rows) - 1}")
        if isinstance(error, ModelError) and len(error.args) == 1 and first_row:
            error.args = (f"{error} Here row 0 is row {first_row} of the whole table.",)
        raise
    names = None if rows.row_names is None else [plain_name(each) for each in pd.Index(rows.row_names)]
    facts = {"rows": [first_row, first_row + len(rows)], "row_names": names, "message": message}
    store.save(name, to_arrays(explanation), **facts, made_by=explanation.made_by)
