"""Faults of models: odd tensors, odd outputs, things that are no models, and files of weights."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPRegressor
from torch import nn
from torch.ao.quantization import quantize_dynamic

from shapae import Autoencoder, Explainer
from shapae.models.files import load_model
from tests.cases import Linear, Question, build, table
from tests.faults.table import Fault

BEFORE, WORKS = "refused before the work", "the values add up to the scores"


class Around(nn.Module):
    """A model with another function as its forward, and nothing else that could be a part."""

    def __init__(self, function: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.function = build(Question), function

    def forward(self, rows: torch.Tensor) -> Any:
        return self.function(self.inner, rows)


class Recursive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, rows: torch.Tensor) -> Any:
        return self(rows)


class Two(Question):
    def forward(self, rows: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        return super().forward(rows) + conditions


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6, dtype=torch.cfloat))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.to(torch.cfloat) @ self.weight


class Kept(Question):
    """Keeps its results by the address of the rows, which is used again."""

    results: dict[int, torch.Tensor] = {}

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.results.setdefault(id(rows), super().forward(rows))


class Called(Question):
    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows)


def with_layer(layer: nn.Module) -> nn.Module:
    model = build(Question)
    model.encoder[0] = layer
    return model


def inference() -> nn.Module:
    with torch.inference_mode():
        return build(Question)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Question()


def halves(first: torch.dtype, second: torch.dtype) -> nn.Module:
    model = build(Question)
    model.encoder.to(first)
    model.decoder.to(second)
    return model


def frozen() -> nn.Module:
    return build(Question).requires_grad_(False)


def written(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return model(rows.mul_(2))


def talking(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    print("rows", end="")
    return model(rows)


def crowded(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    assert len(rows) > 1, "a batch of one row"
    return model(rows)


def explained(make: Callable[[], Any], **settings: Any) -> Callable[[Path], None]:
    def cause(folder: Path) -> None:
        with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):  # of torch, about what it has replaced
            model = make()
        explanation = Explainer(model, table(20), **settings)(table(3))
        np.testing.assert_allclose(explanation.residual, 0, atol=1e-5)

    return cause


def around(function: Callable[[nn.Module, torch.Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Around(function)


NOT_FOUND = "the reconstruction of Around can't be found: .* forward gives {}"
# Models that work as they are.
WORKING = {
    "traced": lambda: torch.jit.trace(build(Question), torch.zeros(2, 6).double()),
    "frozen": frozen,
    "one that writes into its rows": around(written),
    "one that prints": around(talking),
    "one whose __call__ is its own": lambda: build(Called),
    "half and full precision": lambda: halves(torch.float16, torch.float32),
    "bfloat16": lambda: build(Question).bfloat16(),
    "DataParallel": lambda: nn.DataParallel(build(Question)),
    "one that sums row by row": around(lambda model, rows: torch.stack([model(row[None])[0] for row in rows])),
}
# Models that can't be run, or that mix rows.
TENSORS = {
    "on the device meta": (on_meta, r"Question can't be run: its tensors encoder\.0\.weight, .* no numbers\. Load"),
    "one layer on meta": (
        lambda: with_layer(nn.Linear(6, 4, device="meta", dtype=torch.float64)),
        r"its tensors encoder\.0\.weight, encoder\.0\.bias are on the device meta",
    ),
    "a lazy layer": (lambda: with_layer(nn.LazyLinear(4)), r"encoder\.0\.bias have no shape yet\. Run the model once"),
    "8 bits floating point": (
        lambda: build(Question).to(torch.float8_e4m3fn),
        "a dtype that torch stores but does not compute with",
    ),
    "dynamically quantized": (
        lambda: quantize_dynamic(build(Question).float(), {nn.Linear}),
        r"its layers encoder\.0, .* round by the largest number of the whole batch",
    ),
    "made in inference mode": (inference, r"made within torch\.inference_mode\(\)"),
    "double and float": (lambda: halves(torch.float64, torch.float32), "has dtypes that do not fit"),
    "complex": (Complex, r"forward gives shape \(8, 6\) and torch\.complex64"),
    "5 columns wide": (lambda: build(Question, 5), "takes 5 columns, and the table has 6"),
    "7 columns wide": (lambda: build(Question, 7), "takes 7 columns, and the table has 6"),
    "12 columns wide": (lambda: build(Question, 12), "takes 12 columns, and the table has 6"),
    "statistics of the batch": (
        lambda: with_layer(nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 4)).double()),
        "mixes rows",
    ),
    "one that needs two rows": (around(crowded), "mixes rows: .* a single row it fails, AssertionError"),
    "one that subtracts the mean of the batch": (around(lambda model, rows: model(rows - rows.mean(0))), "mixes rows"),
    "one that keeps results by address": (lambda: build(Kept), "mixes rows|random|must return a table"),
    "endless": (Recursive, "RecursionError"),
    "one of two arguments": (lambda: build(Two), "takes 2 inputs, rows, conditions"),
    "a module without forward": (nn.Module, "reconstruction of Module can't be found"),
    "a ModuleList": (lambda: nn.ModuleList([nn.Linear(6, 6)]), "reconstruction of ModuleList can't be found"),
    "weights of NaN": (
        lambda: with_layer(nn.utils.parametrize.register_parametrization(nn.Linear(6, 4).double(), "weight", NaN())),
        "gives NaN",
    ),
}


class NaN(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * float("nan")


# Outputs in which no table of numbers is found, and how they are described.
OUTPUTS = {
    "None": (lambda model, rows: None, "NoneType"),
    "text": (lambda model, rows: "done", "str"),
    "a dict without the reconstruction": (lambda model, rows: {"loss": rows.mean()}, "dict with 'loss' of shape"),
    "one column": (lambda model, rows: model(rows)[:, :1], r"shape \(8, 1\)"),
    "one number per row": (lambda model, rows: model(rows)[:, 0], r"shape \(8,\)"),
    "one number": (lambda model, rows: model(rows).sum(), r"shape \(\)"),
    "a column less": (lambda model, rows: model(rows)[:, :5], r"shape \(8, 5\)"),
    "a row more": (lambda model, rows: torch.cat([model(rows), rows[:1]]), r"shape \(9, 6\)"),
    "the transpose": (lambda model, rows: model(rows).T, r"shape \(6, 8\)"),
    "lists": (lambda model, rows: model(rows).tolist(), "list with 0"),
    "numpy": (lambda model, rows: model(rows).detach().numpy(), "ndarray"),
    "integers": (lambda model, rows: model(rows).long(), r"shape \(8, 6\) and torch\.int64"),
    "truth values": (lambda model, rows: model(rows) > 0, r"shape \(8, 6\) and torch\.bool"),
    "a sparse tensor": (
        lambda model, rows: model(rows).to_sparse(),
        r"shape \(8, 6\) and the layout torch\.sparse_coo",
    ),
    "a nested tensor": (lambda model, rows: torch.nested.nested_tensor([*model(rows)]), "a nested tensor"),
    "a tensor on meta": (lambda model, rows: model(rows).to("meta"), r"shape \(8, 6\) and the device meta"),
    "an empty tuple": (lambda model, rows: (), "tuple"),
    "an error": (lambda model, rows: 1 / 0, "ZeroDivisionError"),
    "a tensor of 4 petabytes": (lambda model, rows: torch.empty(10**15), "RuntimeError"),
}
# Things that are no models, and how to make one.
NO_MODELS = {
    "a class": (Question, r"got the class Question\. Did you mean Question\(\)\?"),
    "a path": (Path("model.pt"), r"got PosixPath\. Make the model, and load its weights"),
    "a name": ("model.pt", r"got 'model\.pt'\. Make the model, and load its weights"),
    "a state_dict": (
        Question().state_dict() if False else {"a": torch.ones(1)},
        "Make the model, and load its weights",
    ),
    "a model of scikit-learn": (MLPRegressor(), r"got MLPRegressor\. Other functions"),
    "a function": (np.tanh, r"got ufunc\. Other functions"),
    "None": (None, "got None"),
    "a list of layers": ([nn.Identity()], "got "),
}


def saved(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Load a file of weights that ``make`` writes, for a model whose weights must stay as they are."""

    def cause(folder: Path) -> None:
        path = folder / "weights.pt"
        with warnings.catch_warnings(action="ignore"):
            made = make(path)
        if isinstance(made, bytes):
            path.write_bytes(made)
        load_model("tests.cases:Linear", path)

    return cause


class Code:
    """An object whose pickle runs code."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def state(change: Callable[[torch.Tensor], Any] = lambda each: each) -> dict[str, Any]:
    return {name: change(each) for name, each in build(Linear).state_dict().items()}


def good(path: Path) -> bytes:
    torch.save(state(), path)
    return path.read_bytes()


def damaged(path: Path) -> bytes:
    return bytes(255 - one if 400 < at < 700 else one for at, one in enumerate(good(path)))


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10**7))


UNREADABLE = "can't read the weights in .*: it is damaged, or no file of torch.save"
WEIGHTS = {
    "text": (lambda path: b"hello", UNREADABLE),
    "an empty file": (lambda path: b"", UNREADABLE),
    "the first half": (lambda path: good(path)[:900], UNREADABLE),
    "damaged in the middle": (
        lambda path: bytes(255 - one if 400 < at < 700 else one for at, one in enumerate(good(path))),
        "weights",
    ),
    "code in a new file": (
        lambda path: torch.save(Code(), path),
        r"holds more than weights: loading it would run posix.mkdir",
    ),
    "code in an old file": (
        lambda path: torch.save(Code(), path, _use_new_zipfile_serialization=False),
        r"holds more than weights: loading it would run posix.mkdir",
    ),
    "code in a pickle": (lambda path: pickle.dumps(Code()), "can't read the weights|more than weights"),
    "a whole model": (lambda path: torch.save(build(Linear), path), r"holds more than weights: .*tests\.cases\.Linear"),
    "a whole model in an old file": (
        lambda path: torch.save(build(Linear), path, _use_new_zipfile_serialization=False),
        r"holds more than weights: .*tests\.cases\.Linear",
    ),
    "a scripted model": (lambda path: torch.jit.script(build(Linear)).save(str(path)), "holds a scripted model"),
    "compressed": (compressed, "is compressed: it would unpack to 10 MB"),
    "an empty archive": (lambda path: zipfile.ZipFile(path, "w").close(), UNREADABLE),
    "no file": (lambda path: None, "can't read the weights in .*: No such file"),
    "a folder": (lambda path: path.mkdir(), "can't read the weights in .*: Is a directory"),
    "a list": (lambda path: torch.save([1, 2], path), "must hold a state_dict, .* got list"),
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "must hold a state_dict, .* got Tensor"),
    "numbers as names": (lambda path: torch.save(dict(enumerate(state().values())), path), "from names to tensors"),
    "weights of another name": (
        lambda path: torch.save({f"module.{name}": each for name, each in state().items()}, path),
        r"without entries encoder\.weight, .* with unexpected entries module\.encoder\.weight",
    ),
    "a weight less": (lambda path: torch.save(dict([*state().items()][1:]), path), r"without entry encoder\.weight"),
    "other shapes": (
        lambda path: torch.save(state(lambda each: each[..., :2]), path),
        r"by their shapes: entries encoder\.weight \(3, 2\) instead of \(3, 6\)",
    ),
    "text as weights": (lambda path: torch.save(state(lambda each: "x"), path), r"encoder\.weight \(str\)"),
    "complex weights": (lambda path: torch.save(state(lambda each: each.cfloat()), path), r"\(torch\.complex64, "),
    "sparse weights": (lambda path: torch.save(state(lambda each: each.to_sparse()), path), r"torch\.sparse_coo\)"),
    "weights on meta": (lambda path: torch.save(state(lambda each: each.to("meta")), path), "on the device meta"),
}
FAULTS = [
    *(Fault("models", f"{name}: works", explained(make), None, WORKS) for name, make in WORKING.items()),
    *(Fault("models", name, explained(make), says, BEFORE) for name, (make, says) in TENSORS.items()),
    *(
        Fault("models", f"forward returns {name}", explained(around(function)), NOT_FOUND.format(says), BEFORE)
        for name, (function, says) in OUTPUTS.items()
    ),
    *(
        Fault("models", f"{name} as the model", lambda folder, thing=thing: Autoencoder(thing), says, BEFORE)
        for name, (thing, says) in NO_MODELS.items()
    ),
    *(Fault("models", f"weights: {name}", saved(make), says, "no code ran") for name, (make, says) in WEIGHTS.items()),
]
