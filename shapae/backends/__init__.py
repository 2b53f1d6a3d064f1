"""Backends say how a score is attributed to features. Each file holds one; those of other libraries are in external/.

>>> class GradientTimesInput(RowwiseBackend):
...     additive = False
...
...     def attribute_row(self, game, row, seed):
...         point = row[None].clone().requires_grad_()
...         gradient, = torch.autograd.grad(game.score(point)[:, 0].sum(), point)
...         values = gradient * (point - game.background.mean(dim=0))
...         return Moments(len(game.background), values.detach().unsqueeze(2).numpy())
>>> import torch, shapae
>>> model, table = torch.nn.Linear(3, 3), torch.randn(10, 3)
>>> shapae.Explainer(model, table, backend=GradientTimesInput())(table[:4]).values.shape
(4, 3)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shapae.backends.base import Attribution, Backend, RowwiseBackend
from shapae.backends.game import Game
from shapae.errors import MissingPackage, ModelError, UnknownName
from shapae.utils.constraints import check_argument, check_arguments
from shapae.utils.kinds import Text, written
from shapae.utils.moments import Moments
from shapae.utils.text import one_line

if TYPE_CHECKING:
    from shapae.backends.coalitions import Coalitions

__all__ = [
    "Attribution",
    "Backend",
    "Coalitions",
    "Game",
    "Moments",
    "RowwiseBackend",
    "captum_rules",
    "named",
    "names",
    "register",
    "shap_rules",
]

# Where the class of each name is at home. A file is imported when its backend is asked for.
_BUILT_IN = {
    "captum_deep": "external.captum_deep.CaptumDeep",
    "captum_gradient_shap": "external.captum_gradient_shap.CaptumGradientShap",
    "captum_shapley": "external.captum_shapley.CaptumShapley",
    "coalitions": "coalitions.Coalitions",
    "deep": "deep.Deep",
    "exact": "exact.Exact",
    "gradient": "gradient.Gradient",
    "sampling": "sampling.Sampling",
    "shap_deep": "external.shap_deep.ShapDeep",
    "shap_gradient": "external.shap_gradient.ShapGradient",
    "shap_kernel": "external.shap_kernel.ShapKernel",
    "shap_partition": "external.shap_partition.ShapPartition",
    "shap_permutation": "external.shap_permutation.ShapPermutation",
}
_REGISTERED: dict[str, Callable[[], Backend]] = {}
# Libraries that shapae does without, each an extra of its own name.
_EXTRAS = ("captum",)


def names() -> list[str]:
    """List the names of all backends, with those that were registered."""
    return sorted([*_BUILT_IN, *_REGISTERED])


def register(name: str, make: Callable[[], Backend]) -> None:
    """Give a backend a name, for ``Explainer(..., backend=name)``.

    Args:
        name: A name that no backend of shapae has. One that was registered before is replaced.
        make: Called without arguments, such as a class; it returns the backend.

    Raises:
        DataError: The name is no string, or it is empty.
        ModelError: The name belongs to a backend of shapae; or ``make`` does not make a backend.
    """
    check_argument("name", name, Text(1))
    if name in _BUILT_IN:
        raise ModelError(f"the name {name!r} belongs to a backend of shapae. Register yours under another name.")
    if not callable(make):
        raise ModelError(
            f"a backend is registered by its class, got an object of {type(make).__name__}. "
            f"Write register({name!r}, {type(make).__name__}), or hand the object to Explainer(..., backend=...)."
        )
    try:
        made = make()
    except Exception as error:
        raise ModelError(
            f"the backend {name!r} can't be made without arguments: {type(error).__name__}: {one_line(error)}. "
            f"Register a function that knows them: register({name!r}, lambda: MyBackend(argument))."
        ) from error
    as_backend(made)
    _REGISTERED[name] = make


def named(name: str) -> Backend:
    """Return the backend of a name.

    Raises:
        UnknownName: There is no such backend; the message lists all names.
        MissingPackage: The backend needs a library that is not installed, but could be.
        ModuleNotFoundError: Another package is not installed.
    """
    check_arguments(name=name)
    if name in _REGISTERED:
        return as_backend(_REGISTERED[name]())
    if name not in _BUILT_IN:
        raise UnknownName("backend", name, names())
    home, _, kind = _BUILT_IN[name].rpartition(".")
    try:
        backend: Backend = getattr(import_module(f"{__name__}.{home}"), kind)()
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library not in _EXTRAS:
            raise
        raise MissingPackage(f"backend {name!r} needs {library}: pip install 'shapae[{library}]'") from error
    return backend


def as_backend(backend: str | Backend) -> Backend:
    """Return the backend of a name, or ``backend`` itself.

    Raises:
        ModelError: It is neither a name nor a backend.
    """
    if isinstance(backend, str):
        return named(backend)
    if not isinstance(backend, Backend):
        call = f" Did you mean {backend.__name__}()?" if isinstance(backend, type) else ""
        raise ModelError(
            f"the backend must be a name or an object of a subclass of shapae.backends.Backend, got {written(backend)}."
            f"{call}"
        )
    return backend


@contextmanager
def shap_rules() -> Iterator[None]:
    """Lend shap's DeepExplainer the rules that it lacks, for ``explainer.score`` and other modules.

    Inside, all of torch's elementwise modules and those of shapae's heads follow DeepLIFT's rescale rule. Softmax,
    which shap takes for elementwise, has its plain gradient, so that shap's own check of the sums can tell. Afterwards
    shap's table is as it was.

    >>> import shap, torch, shapae
    >>> model, table = torch.nn.Linear(3, 3), torch.randn(10, 3)
    >>> score = shapae.score(model, table)
    >>> with shapae.backends.shap_rules():
    ...     shap.DeepExplainer(score, table).shap_values(table[:4], check_additivity=False).shape
    (4, 3, 1)
    """
    from shapae.backends.external._shap import rules

    with rules():
        yield


@contextmanager
def captum_rules() -> Iterator[None]:
    """Lend captum's DeepLift and DeepLiftShap the rules that they lack; see ``shap_rules``.

    Raises:
        MissingPackage: captum is not installed.
    """
    try:
        from shapae.backends.external._captum import rules
    except ModuleNotFoundError as error:
        raise MissingPackage("captum_rules() needs captum: pip install 'shapae[captum]'") from error
    with rules():
        yield


def __getattr__(name: str) -> Any:
    if name == "Coalitions":  # with settings; imported when it is asked for, as are the backends of names
        from shapae.backends.coalitions import Coalitions

        return Coalitions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
