"""Every error of the package, as a tree.

::

    ShapaeError
        DataError            a table that can't be explained, or that does not fit the background
        ModelError           a model or head that can't be explained as it is
            ShapeError       its output has the wrong shape or type
            UnsupportedOperator  it runs operators for which the native engine has no rule
        UnknownName          a head, backend, output or loss that does not exist; the known ones are listed
        TooLarge             more memory is needed than ``memory`` allows, or more features than a backend takes
        OutputError          a result that can't be written or read
        MissingPackage       something that needs a package which is not installed

    AdditivityWarning        values that do not add up as well as their backend promises
    NamesWarning             names that were changed, because some of them came repeatedly
    RankingWarning           a method underrates some features
"""

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = [
    "AdditivityWarning",
    "DataError",
    "MissingPackage",
    "ModelError",
    "NamesWarning",
    "OutputError",
    "RankingWarning",
    "ShapaeError",
    "ShapeError",
    "TooLarge",
    "UnknownName",
    "UnsupportedOperator",
]


class ShapaeError(Exception):
    """Root of all errors that shapae raises on purpose."""


class DataError(ShapaeError, ValueError):
    """A table that can't be explained, or that does not fit the background."""


class ModelError(ShapaeError, ValueError):
    """A model or head that can't be explained as it is."""


class ShapeError(ModelError):
    """The model or the head returns something of the wrong shape or type."""


class UnsupportedOperator(ModelError):
    """The model runs operators for which the native engine has no rule; all of them are named.

    >>> print(UnsupportedOperator(["aten.sort.default in Score.autoencoder.model"]))
    the model runs operators without an attribution rule: aten.sort.default in Score.autoencoder.model. Add them to \
shapae/deepshap/rules (one function each), or use backend='gradient', which needs no rules.
    """

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(places)

    def __str__(self) -> str:
        """Each operator with its place."""
        return (
            f"the model runs operators without an attribution rule: {', '.join(self.args[0])}. Add them to "
            f"shapae/deepshap/rules (one function each), or use backend='gradient', which needs no rules."
        )


class UnknownName(ShapaeError, KeyError):
    """A name that is not known.

    >>> print(UnknownName("head", "latant", ["latent", "reconstruction"]))
    no head is called 'latant'; there are: latent, reconstruction.
    """

    def __init__(self, kind: str, name: object, known: list[str]) -> None:
        super().__init__(kind, name, known)

    def __str__(self) -> str:
        """The known names, the nearest first, twelve at most."""
        kind, name, known = self.args
        near = get_close_matches(str(name), known)
        shown = (near + [each for each in known if each not in near])[:12]
        more = f", and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
        return f"no {kind} is called {name!r}; there are: {', '.join(shown)}{more}."


class TooLarge(ShapaeError, ValueError):
    """More memory or more features than allowed; refused before the work starts."""


class OutputError(ShapaeError, OSError):
    """A result that can't be written to, or read from, where it was asked for."""


class MissingPackage(ShapaeError, ImportError):
    """Something was asked for that needs a package which is not installed; the extra that installs it is named."""


class AdditivityWarning(UserWarning):
    """Values miss score - base value by more than their backend promises."""


class NamesWarning(UserWarning):
    """Names were changed, because some of them came repeatedly."""


class RankingWarning(UserWarning):
    """A method underrates some features."""
