"""Optional dependencies; an extra of shapae installs each of them."""

import sys
from importlib import import_module
from typing import Any

from shapae.errors import MissingPackage


def import_optional(package: str, what: str, extra: str | None = None) -> Any:
    """Import ``package``, which an extra installs.

    Args:
        package: Name of the package, or of a module of it.
        what: Feature that needs the package, for the message.
        extra: Name of the extra; None for the name of the package.

    Raises:
        MissingPackage: The package is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingPackage(f"{what} needs the package {name}: pip install 'shapae[{extra or name}]'.") from error


def is_instance_of(thing: object, package: str, kind: str) -> bool:
    """Check whether ``thing`` is an instance of a class of a package, without importing the package.

    >>> is_instance_of(3, "a_package_that_nobody_has", "Table")
    False
    """
    module = sys.modules.get(package)
    return module is not None and isinstance(thing, getattr(module, kind))
