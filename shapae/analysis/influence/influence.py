"""The verb: the influence of training rows on the scores of other rows, by TracIn."""

import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shapae.analysis.influence.checkpoints import read_checkpoints
from shapae.analysis.influence.parameters import choose_parameters
from shapae.analysis.influence.products import add_up, all_products, plan_products
from shapae.analysis.influence.result import Influence
from shapae.analysis.influence.setup import set_up
from shapae.explainer.record import make_record
from shapae.heads.functions import HeadFunction, head_name
from shapae.models.autoencoder import Autoencoder
from shapae.utils.blocks import device_memory
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.context import inference_state
from shapae.utils.memory import parse_bytes
from shapae.utils.parallel import count_workers
from shapae.utils.progress import progress_bar
from shapae.utils.resumable import Resumable, refuse_others


def influence(
    model: nn.Module | Autoencoder,
    train: Any,
    rows: Any,
    *,
    checkpoints: Any = None,
    head: str | nn.Module | HeadFunction = "reconstruction_error",
    loss: str | nn.Module | HeadFunction | None = None,
    parameters: str | Sequence[str] = "all",
    learning_rates: float | Sequence[float] = 1.0,
    steps: float | Sequence[float] | None = None,
    batch_size: int | None = None,
    projection: int | None = None,
    n_jobs: int | None = None,
    memory: str | float = "1GB",
    seed: int = 0,
    progress: bool | None = None,
    resume: str | PathLike[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> Influence:
    """Estimate how much each training row lowered the score of each row, when the model was trained on it.

    influence(z, x) = sum over checkpoints of weight * <gradient of loss(x), gradient of score(z)>, with gradients with
    respect to the parameters. This is the first-order decrease of the score of z by steps of gradient descent on the
    loss of x. Training rows with positive influences, proponents, are the ones from which the model learned to
    reconstruct z; rows with negative influences are opponents.

    Gradients are taken in eval mode, row by row, as if the optimizer was plain gradient descent: momentum, scales of
    Adam, weight decay, dropout and batch statistics of the training are left out.

    Args:
        model: Trained; it comes back as it was.
        train: (m, d), the rows that the model was trained on.
        rows: (n, d), with the columns of ``train``; often ``train`` itself.
        checkpoints: state_dicts, or paths of files of them (read with ``weights_only``), in the order of the training;
            or a single one. None for the model as it is.
        head: Score of ``rows``, see ``Explainer``; it must have one output. The decrease of the score counts; for
            the head "elbo", which training raises, the increase.
        loss: Loss that the model was trained with: a name of ``shapae.losses`` for the mean over the features, such as
            "mse" or "bce"; or any head, such as "elbo" or ``shapae.heads.ELBO(draws=16)``. None for the head itself, if
            it is a reconstruction error or the ELBO, and otherwise for "mse".
        parameters: "all" for all parameters that were trained; "last", or "last:2", for those of the last layers that
            are run; or one or several patterns of names, "decoder.*".
        learning_rates: A number, or one for each checkpoint.
        steps: Number of steps of the optimizer since the checkpoint before: a number, or one for each checkpoint. The
            weight of a checkpoint is learning rate * batch_size * steps / m; without ``steps`` it is the learning rate.
            If the loss of a batch is the mean over its rows, the decrease is ``batch_size`` times smaller.
        batch_size: Number of rows in a step; None for all.
        projection: Number of dimensions to which gradients of other than linear layers are projected at random, for
            models with many such parameters; None to keep them as they are.
        n_jobs: See ``Explainer``.
        memory: Bound on the memory that is used at once.
        seed: Random seed of the projection.
        progress: See ``Explainer``.
        resume: Folder in which finished blocks are kept until all are done, so that the same call continues after it
            was interrupted, also with other ``n_jobs``.
        feature_names: d names, for tables that have none.

    Returns:
        Influences (n, m), and the influence of each training row on its own loss.

    Raises:
        DataError: A table is not as described, or the head has several outputs, or a setting is not a positive number.
        ModelError: The model, the head or the loss can't be used as described in ``Explainer``, or a checkpoint is not
            of the model, or no parameter matters to both scores.
        UnknownName: There is no such head, loss or parameter.
        TooLarge: The result, or the gradient of one row, does not fit into ``memory``.
        OutputError: ``resume`` is a folder of other work.

    Reference:
        Pruthi et al., 2020, section 3, https://arxiv.org/abs/2002.08484 (TracIn); Kong and Chaudhuri, 2021, section
        4, https://arxiv.org/abs/2105.14203 (variational autoencoders)
    """
    check_arguments(seed=seed, memory=memory)
    check_optional(n_jobs=n_jobs, progress=progress, feature_names=feature_names)
    check_optional(batch_size=batch_size, projection=projection, resume=resume)
    if resume is not None:
        refuse_others(Path(resume))
    start, size = time.perf_counter(), parse_bytes(memory)
    with torch.inference_mode(False):
        setup = set_up(model, (train, rows), head, loss, feature_names=feature_names)
        states = read_checkpoints(checkpoints, learning_rates, len(setup.train), steps=steps, batch_size=batch_size)
        states.check(setup.model)
        with inference_state(setup.scores, setup.trial, gradients=True), device_memory(size):
            names = choose_parameters(setup.model, parameters, setup.tested, setup.trial)
            gradients = setup.row_gradients(names, projection, seed)
            jobs = count_workers(n_jobs)
            plan = plan_products(gradients, setup.sizes, setup.trial, memory=size, jobs=jobs)
            task: dict[str, Any] = {"head": head_name(head), "loss": setup.loss_name, "parameters": _plain(parameters)}
            task |= {"projection": _plain(projection), "seed": _plain(seed), "weights": states.weights.tolist()}
            store = Resumable(resume, task | (setup.fingerprint(states, gradients) if resume else {}), plan.record())
            plan = plan.recorded(store.plan)
            blocks = all_products(setup, gradients, states, plan, store=store, n_jobs=n_jobs)
            arrays = add_up(setup, progress_bar(blocks, len(states) * plan.n_tasks, progress, "influence"))
            result = setup.result(arrays, make_record(start, {"model": setup.tested.autoencoder.record}, **task))
    store.finish()
    return result


def _plain(given: Any) -> Any:
    """Convert a setting to one that JSON holds."""
    return given if given is None or isinstance(given, str) else np.asarray(given).tolist()
