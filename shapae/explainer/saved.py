"""Explainers in folders: the weights of the model, the name of its factory, the background and all settings.

Nothing in the files is run but the factory, which is imported by its name.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shapae.backends import Backend, as_backend
from shapae.errors import DataError, ModelError, OutputError, ReconstructionWarning, ShapaeError
from shapae.explainer.binding import CHECKED_ROWS
from shapae.explainer.record import versions
from shapae.heads.arguments import describe_head, make_head
from shapae.heads.checks import ROUNDING, rounding_tolerance
from shapae.models.autoencoder import Autoencoder, arguments
from shapae.models.files import load_state, make_model, match_dtypes, name_factory, read_state, write_state
from shapae.models.preprocess import Affine
from shapae.models.unwrapping import deep_copy, single_precision_template
from shapae.tables.background import Background
from shapae.tables.table import read_table
from shapae.utils.arguments import PLAIN, read_arguments
from shapae.utils.context import preserve_rng
from shapae.utils.text import one_line

T = TypeVar("T")
# Number of the format, which a change of the files must raise.
FORMAT = 1
# The record of the explainer, the state_dict of its model, and all other tensors.
FILES = RECORD, WEIGHTS, TENSORS = "explainer.json", "model.safetensors", "explainer.safetensors"
# Prefix of the tensors of the preprocessing.
PREPROCESS = "preprocess."
# Arguments of Explainer that may be objects of the user's own.
OBJECTS = ("head", "backend")
WRAPPED = (
    "The factory must set all that is not in the state_dict. If the model was explained in an Autoencoder, let the "
    "factory return it: shapae.Autoencoder(model, preprocess=..., reconstruct=...)."
)


@dataclass(frozen=True, eq=False)
class Saved:
    """The parts of an explainer that are saved.

    Attributes:
        arguments: Arguments of ``Explainer`` that make it again.
        scores: (m, k), scores of ``probe_rows``.
        question: Names of the head and of the source, which the scores are of.
        parts: Record of the understanding of the model.
        factory: Name of the function that makes the model.
    """

    arguments: dict[str, Any]
    scores: Tensor
    question: tuple[str, str]
    parts: dict[str, str]
    factory: str = ""


def probe_rows(background: Tensor) -> Tensor:
    """Select rows on which scores are compared: of the background, and mixed from its rows, each column in its range.

    Args:
        background: (b, d).

    Returns:
        (m, d).
    """
    some = background[:CHECKED_ROWS]
    rows, columns = (torch.arange(size, device=some.device) for size in some.shape)
    return torch.cat([some, some.gather(0, (rows[:, None] + columns) % len(some))])


def write_folder(saved: Saved, factory: str | Callable[[], Any] | None, folder: Path) -> list[str]:
    """Write an explainer to a folder.

    Args:
        saved: The explainer.
        factory: See ``Explainer.save``.
        folder: An empty folder.

    Returns:
        Names of the arguments that can't be written, because they are objects of the user's own.

    Raises:
        ModelError: The factory can't be imported by its name.
        OutputError: The state_dict of the model holds more than dense tensors.
    """
    settings = dict(saved.arguments)
    autoencoder, background = settings.pop("model"), settings.pop("background")
    names = {name: str(settings[name]) for name in OBJECTS} | {"head": saved.question[0]}
    settings |= {"head": _describe_head(settings["head"]), "backend": _describe_backend(settings["backend"])}
    described, tensors = _describe_autoencoder(autoencoder)
    record = {
        "format": FORMAT,
        "factory": factory if isinstance(factory, str) else name_factory(factory or type(autoencoder.model)),
        "autoencoder": described,
        "settings": settings,
        "names": names,
        "question": saved.question,
        "parts": saved.parts,
        "origin": background.origin,
        "versions": versions(),
    }
    tensors |= {"background": torch.from_numpy(background.rows.values), "scores": saved.scores}
    tensors |= {} if background.weights is None else {"weights": torch.from_numpy(background.weights)}
    write_state(autoencoder.model.state_dict(), folder / WEIGHTS)
    write_state(tensors, folder / TENSORS)
    text = json.dumps(record, indent=1, ensure_ascii=False, default=lambda number: number.item())
    (folder / RECORD).write_text(text, encoding="utf-8")
    return [name for name in OBJECTS if settings[name] is None]


def _describe_head(head: str | nn.Module) -> str | dict[str, Any] | None:
    return head if isinstance(head, str) else describe_head(head)


def _describe_backend(backend: str | Backend) -> str | dict[str, Any] | None:
    """Describe a backend by its name, or by its name and its arguments; None if these do not make an equal one."""
    if isinstance(backend, str):
        return backend
    given = read_arguments(backend)
    try:
        known = type(as_backend(backend.name)) is type(backend)
    except ShapaeError:
        known = False
    return {"name": backend.name, "arguments": given} if known and given is not None else None


def _describe_autoencoder(autoencoder: Autoencoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Describe an autoencoder beside its model: its arguments, and the tensors of its preprocessing."""
    given = arguments(autoencoder)
    preprocess = given.pop("preprocess")
    names = [*preprocess.names] if isinstance(preprocess, Affine) and preprocess.names is not None else None
    own = [name for name, each in given.items() if not isinstance(each, PLAIN)]
    own += [] if isinstance(preprocess, Affine | nn.Identity) else ["preprocess"]
    described = {
        "arguments": {name: each for name, each in given.items() if name not in own},
        "own": own,
        "preprocess": {"affine": isinstance(preprocess, Affine), "names": names},
        "notes": autoencoder.notes,
    }
    return described, {f"{PREPROCESS}{name}": each for name, each in preprocess.state_dict().items()}


def read_folder(folder: Path, changes: Mapping[str, Any], device: Any) -> Saved:
    """Read an explainer from a folder of ``write_folder``.

    Args:
        folder: The folder.
        changes: Arguments of ``Explainer`` that replace those in the folder.
        device: Device of the model; None for the one on which its factory makes it.

    Raises:
        OutputError: The folder is of another format; or an object of the user's own is not among the changes.
        ModelError: The factory can't be imported, or makes another model.
        Exception: The files are missing, or they are not files of ``write_folder``.
    """
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    _check_format(record)
    settings, tensors = record["settings"] | changes, load_file(folder / TENSORS)
    for name in OBJECTS:
        if settings[name] is None:
            raise OutputError(
                f"its {name} is {record['names'][name]}, an object of your own, which is not in the folder. Hand it "
                f"over: Explainer.load(folder, {name}=...)."
            )
    if isinstance(settings["head"], dict):
        settings["head"] = make_head(settings["head"])
    if isinstance(described := settings["backend"], dict):
        settings["backend"] = type(as_backend(described["name"]))(**described["arguments"])
    weights = tensors["weights"].double().numpy() if "weights" in tensors else None
    background = Background(read_table(tensors["background"].numpy(), "background"), weights, record["origin"])
    model = _read_autoencoder(folder, record, tensors)
    model = model if device is None else model.to(device)
    question: tuple[str, str] = (record["question"][0], record["question"][1])
    made = settings | {"model": model, "background": background}
    return Saved(made, tensors["scores"], question, record["parts"], record["factory"])


def _check_format(record: Mapping[str, Any]) -> None:
    if record["format"] != FORMAT:
        raise OutputError(
            f"its format {record['format']!r} is that of shapae {record['versions']['shapae']}, and this version reads "
            f"format {FORMAT}. Install that version, or save the explainer again."
        )


def _read_autoencoder(folder: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Autoencoder:
    """Make the model, and give it its weights and its preprocessing.

    Raises:
        ModelError: The factory can't be imported, or makes another model.
    """
    factory, described = record["factory"], record["autoencoder"]
    with preserve_rng(), torch.inference_mode(False):
        model = deep_copy(make_model(factory))  # a factory may hand out a model that others use
        if not isinstance(model, Autoencoder):
            _refuse_own_parts(described["own"], factory)
            model = Autoencoder(model, **described["arguments"])
        state = read_state(folder / WEIGHTS)
        match_dtypes(model.model, state)
        load_state(model.model, state, "the weights", factory)
        state = {name.removeprefix(PREPROCESS): each for name, each in tensors.items() if name.startswith(PREPROCESS)}
        if described["preprocess"]["affine"]:
            mean, scale = state["mean"], state["scale"]
            like = single_precision_template(model.model).to(mean.dtype)
            model.preprocess = Affine(mean.numpy(), scale.numpy(), like, described["preprocess"]["names"])
        elif state:
            load_state(model.preprocess, state, "the weights of preprocess=", factory)
    model.notes = described["notes"]
    return model


def _refuse_own_parts(own: list[str], factory: str) -> None:
    if own:
        parts = ", ".join(f"{name}=..." for name in own)
        raise ModelError(
            f"shapae.Autoencoder(model, {parts}) has functions or modules of your own, which can't be saved. Let the "
            f"factory {factory} return it: shapae.Autoencoder(model, {parts})."
        )


def check_changes(changes: Mapping[str, Any]) -> None:
    """Check that neither the model nor the background is to be replaced.

    Raises:
        DataError: One is.
    """
    if found := sorted({"model", "background"} & changes.keys()):
        raise DataError(
            f"load(folder) takes the model and the background from the folder, and other arguments of Explainer may be "
            f"changed, got {', '.join(found)}. Use Explainer(model, background) for others."
        )


def make_twin(kind: Callable[..., T], saved: Saved) -> T:
    """Make the explainer again, without the warning that was given when it was made at first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReconstructionWarning)
        return kind(**saved.arguments)


def check_twin(twin: Saved, saved: Saved) -> None:
    """Check that an explainer that was read again is the one that was saved.

    Raises:
        ModelError: It has other scores, or its model is understood in another way.
    """
    eps, rows = torch.finfo(saved.scores.dtype).eps, saved.arguments["background"].rows.values
    tolerance = ROUNDING * eps * saved.scores.abs().max() + (ROUNDING * eps * abs(rows).max()) ** 2
    _check_scores(twin.scores, saved.scores, float(tolerance))
    if twin.parts != saved.parts:
        raise ModelError(
            f"the model of the factory is understood as {twin.parts}, and the model that is saved as {saved.parts}. "
            f"{WRAPPED}"
        )


def check_unchanged(twin: Saved, saved: Saved, eps: float) -> None:
    """Check that a model has the scores that it had when it was saved, maybe on another machine.

    Args:
        twin: The explainer. If its head or its source was changed, there is nothing to compare.
        saved: The explainer that was saved.
        eps: Relative rounding error of the scores.

    Raises:
        ModelError: It has other scores.
    """
    if twin.question == saved.question:
        rows = torch.from_numpy(twin.arguments["background"].rows.values)
        _check_scores(twin.scores, saved.scores, float(rounding_tolerance(saved.scores, eps, rows)))


def _check_scores(found: Tensor, saved: Tensor, tolerance: float) -> None:
    if found.shape == saved.shape and found.dtype == saved.dtype:
        if torch.isclose(found, saved, rtol=0, atol=tolerance, equal_nan=True).all():
            return
        difference = f"they differ by up to {(found - saved).abs().max().item():.3g}"
    else:
        difference = f"of shape {tuple(found.shape)} and {found.dtype}, not {tuple(saved.shape)} and {saved.dtype}"
    raise ModelError(
        f"the model of the factory, with the weights that are saved, has other scores than the model that is saved: "
        f"{difference}. {WRAPPED}"
    )


@contextmanager
def asking_for_factory(factory: Any, saved: Saved) -> Iterator[None]:
    """Add to an error how to write a factory, if none was given.

    Raises:
        ModelError: The class of the model does not make the model again.
    """
    try:
        yield
    except ModelError as error:
        if factory is not None:
            raise
        kind = type(saved.arguments["model"].model).__name__
        raise ModelError(
            f"the class {kind} alone does not make this model again: {one_line(error)} Write a function without "
            f"arguments into a module, such as my_model.py: def make(): return {kind}(...). Then name it: "
            f"explainer.save(folder, factory='my_model:make')."
        ) from error


@contextmanager
def reading(folder: str | Path) -> Iterator[None]:
    """Say of any error in which folder it is.

    Raises:
        OutputError: The folder can't be read.
    """
    try:
        yield
    except Exception as error:
        raise OutputError(f"{folder} does not hold an explainer that can be loaded: {one_line(error)}") from error
