"""Explainers in folders: the weights of the model, the name of its factory, the background and all settings.

Nothing in the files is run but the factory, which is imported by its name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from shapae.backends import Backend, as_backend
from shapae.errors import DataError, ModelError, OutputError, ShapaeError
from shapae.explainer.files import writing
from shapae.explainer.record import versions
from shapae.explainer.twins import Saved
from shapae.heads.arguments import describe_head, make_head
from shapae.models.described import describe_autoencoder, make_autoencoder
from shapae.models.files import name_factory, read_state, write_state
from shapae.models.unwrapping import parameters_and_buffers
from shapae.tables.background import Background
from shapae.tables.table import read_table, resolve_feature_names
from shapae.utils.arguments import read_arguments
from shapae.utils.records import plain, read_record, write_record
from shapae.utils.text import one_line

# Number of the format, which a change of the files must raise. The first one had no checksums.
FORMAT = 2
# The record of the explainer, the state_dict of its model, and all other tensors.
FILES = RECORD, WEIGHTS, TENSORS = "explainer.json", "model.safetensors", "explainer.safetensors"
# Prefix of the tensors of the preprocessing.
PREPROCESS = "preprocess."
# Arguments of Explainer that may be objects of the user's own.
OBJECTS = ("head", "backend")


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
        OutputError: The state_dict of the model holds more than dense tensors; or a setting or a file can't be written.
    """
    settings = dict(saved.arguments)
    autoencoder, background = settings.pop("model"), settings.pop("background")
    names = {"head": saved.question[0], "backend": getattr(settings["backend"], "name", settings["backend"])}
    settings |= {"head": _describe_head(settings["head"]), "backend": _describe_backend(settings["backend"])}
    described, preprocess = describe_autoencoder(autoencoder)
    record = {
        "factory": factory if isinstance(factory, str) else name_factory(factory or type(autoencoder.model)),
        "autoencoder": described,
        "settings": settings,
        "names": names,
        "question": saved.question,
        "parts": saved.parts,
        "origin": background.origin,
        "versions": versions(),
    }
    tensors = {f"{PREPROCESS}{name}": each for name, each in preprocess.items()}
    tensors |= {"background": torch.from_numpy(background.rows.values), "scores": saved.scores}
    tensors |= {} if background.weights is None else {"weights": torch.from_numpy(background.weights)}
    with writing(folder):
        write_state(autoencoder.model.state_dict(), folder / WEIGHTS)
        write_state(tensors, folder / TENSORS)
        entries = {name: plain(part, None, name) for name, part in record.items()}
        write_record(folder / RECORD, entries, format=FORMAT, files=(WEIGHTS, TENSORS))
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


def read_folder(folder: Path, changes: Mapping[str, Any], device: Any) -> Saved:
    """Read an explainer from a folder of ``write_folder``.

    Args:
        folder: The folder.
        changes: Arguments of ``Explainer`` that replace those in the folder.
        device: Device of the model; None for the one on which its factory makes it.

    Raises:
        OutputError: The files are missing, damaged or of a later version; or an object of the user's own is not among
            the changes.
        ModelError: The factory can't be imported, or makes another model.
        Exception: The files are not files of ``write_folder``.
    """
    record = read_record(folder / RECORD, format=FORMAT, files=(WEIGHTS, TENSORS))
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
    rows = read_table(tensors["background"].numpy(), "background")
    resolve_feature_names(rows, record["settings"]["feature_names"], "background")
    background = Background(rows, weights, record["origin"])
    preprocess = {name.removeprefix(PREPROCESS): each for name, each in tensors.items() if name.startswith(PREPROCESS)}
    model = make_autoencoder(record["factory"], record["autoencoder"], read_state(folder / WEIGHTS), preprocess)
    if device is not None and any(each.device != torch.device(device) for each in parameters_and_buffers(model)):
        model.to(device)
    made = settings | {"model": model, "background": background}
    return Saved(made, tensors["scores"], tuple(record["question"]), record["parts"])


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
        reason = one_line(error) if isinstance(error, ShapaeError | OSError) else f"{type(error).__name__}: {error}"
        raise OutputError(f"{folder} does not hold an explainer that can be loaded: {reason}") from error
