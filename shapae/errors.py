"""All errors and warnings of the package.

::

    ShapaeError
        DataError            a table that can't be explained, or that does not fit the background
        ModelError           a model or head that can't be explained as it is
            ShapeError       its output has the wrong shape or type
            UnsupportedOperator  its operators have neither a rule in the native engine nor a gradient, or jump
        UnknownName          an unknown head, backend, output or loss; known names are listed
        WrongIndex           an index that an explanation does not have, or that is not clear
        TooLarge             more memory than ``memory`` allows, or more features than a backend takes
        OutputError          a result that can't be written or read
        WorkerError          workers that die, hang, or can't be started
        MissingPackage       a feature of shapae that needs a package which is not installed

    AdditivityWarning        values whose residual exceeds the tolerance of their backend
    MemoryWarning            a device that ran out of memory, so that smaller blocks are computed
    NamesWarning             repeated names, which were made unique
    OutputWarning            a picture that can't be drawn, or files that a killed process left behind
    RankingWarning           a ranking method that underestimates some features
    ReferenceWarning         a reference of a comparison that another estimate contradicts
    ReconstructionWarning    a model that reconstructs its rows worse than their mean does
"""

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = [
    "AdditivityWarning",
    "DataError",
    "MemoryWarning",
    "MissingPackage",
    "ModelError",
    "NamesWarning",
    "OutputError",
    "OutputWarning",
    "RankingWarning",
    "ReconstructionWarning",
    "ReferenceWarning",
    "ShapaeError",
    "ShapeError",
    "TooLarge",
    "UnknownName",
    "UnsupportedOperator",
    "WorkerError",
    "WrongIndex",
]


# Advice for scores that no gradient explains.
WITHOUT_GRADIENTS = (
    "backend='sampling', or backend='exact' for at most 12 features, which need neither rules nor gradients"
)


class ShapaeError(Exception):
    """Base of all errors of shapae."""


class DataError(ShapaeError, ValueError):
    """A table that can't be explained, or that does not fit the background."""


class ModelError(ShapaeError, ValueError):
    """A model or head that can't be explained as it is."""


class ShapeError(ModelError):
    """A model or head with outputs of the wrong shape or type."""


class UnsupportedOperator(ModelError):
    """A model with operators that have no rule in the native engine; all of them are named.

    >>> print(UnsupportedOperator(["aten.gather.default in Score.autoencoder.model"]))
    the model runs operators without an attribution rule: aten.gather.default in Score.autoencoder.model. Add them to \
shapae/deepshap/rules (one function each), or use backend='sampling', or backend='exact' for at most 12 features, \
which need neither rules nor gradients.
    """

    def __init__(self, places: Sequence[str], have_gradients: bool = False) -> None:
        super().__init__(places, have_gradients)

    def __str__(self) -> str:
        """Name each operator with its place in the model."""
        places, have_gradients = self.args
        others = "backend='gradient', which needs no rules" if have_gradients else WITHOUT_GRADIENTS
        return (
            f"the model runs operators without an attribution rule: {', '.join(places)}. Add them to "
            f"shapae/deepshap/rules (one function each), or use {others}."
        )


class UnknownName(ShapaeError, KeyError):
    """An unknown name.

    >>> print(UnknownName("head", "latant", ["latent", "reconstruction"]))
    no head is called 'latant'; there are: latent, reconstruction.
    """

    def __init__(self, kind: str, name: object, known: list[str]) -> None:
        super().__init__(kind, name, known)

    def __str__(self) -> str:
        """List the known names, the most similar first, twelve at most."""
        kind, name, known = self.args
        near = get_close_matches(str(name), known)
        shown = (near + [other for other in known if other not in near])[:12]
        more = f", and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
        return f"no {kind} is called {name!r}; there are: {', '.join(shown)}{more}."


class WrongIndex(ShapaeError, IndexError):
    """An index that an explanation does not have, or that can be read in two ways."""


class TooLarge(ShapaeError, ValueError):
    """More memory or more features than allowed, raised before the computation starts."""


class OutputError(ShapaeError, OSError):
    """A result that can't be written to, or read from, where it was asked for."""


class WorkerError(ShapaeError, RuntimeError):
    """Workers that die, hang, or can't be started."""


class MissingPackage(ShapaeError, ImportError):
    """A feature of shapae that needs a package which is not installed; the extra that installs it is named."""


class AdditivityWarning(UserWarning):
    """Values whose sums differ from score - base value by more than the tolerance of their backend."""


class MemoryWarning(UserWarning):
    """A device that ran out of memory, so that smaller blocks are computed from then on."""


class NamesWarning(UserWarning):
    """Repeated names, which were made unique."""


class OutputWarning(UserWarning):
    """A picture that can't be drawn beside results that are written, or files that a killed process left behind."""


class RankingWarning(UserWarning):
    """A ranking method that underestimates some features."""


class ReferenceWarning(UserWarning):
    """A reference of a comparison whose values differ from sampled marginal contributions."""


class ReconstructionWarning(UserWarning):
    """A model that reconstructs the background worse than the mean of the background does: a scaler may be missing."""


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
