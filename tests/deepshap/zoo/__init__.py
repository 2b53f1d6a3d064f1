"""A zoo of small autoencoders, one for each style of writing: a table from names to constructors, (n, D) -> (n, D).

Each model takes float32 or float64, as set by ``.to(dtype)``. In eval mode it is deterministic and scores each row
independently. Each module of this package registers its models on import, in the order of the table.
"""

from tests.deepshap.zoo import activations, functional, writing_styles, skips, attention, convolution  # noqa: F401, I001
from tests.deepshap.zoo import normalization, prototypes, variational  # noqa: F401
from tests.deepshap.zoo.base import ZOO, D, H, around, enter, excited, lively, mlp, stirred
from tests.deepshap.zoo.unsupported import REFUSED

__all__ = ["REFUSED", "ZOO", "D", "H", "around", "enter", "excited", "lively", "mlp", "stirred"]
