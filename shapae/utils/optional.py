"""Packages that not everybody needs: an extra of shapae installs each."""

import sys
from importlib import import_module
from typing import Any

from shapae.errors import MissingPackage


def import_optional(package: str, what: str) -> Any:
    """Import ``package``, which the extra of its name installs.

    Args:
        package: Its name, and that of the extra.
        what: What can't be done without it, for the message.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackage(f"{what} needs the package {package}: pip install 'shapae[{package}]'.") from error


def is_instance_of(thing: object, package: str, kind: str) -> bool:
    """Whether ``thing`` is of a class of a package, which is not imported to find out.

    >>> is_instance_of(3, "a_package_that_nobody_has", "Table")
    False
    """
    module = sys.modules.get(package)
    return module is not None and isinstance(thing, getattr(module, kind))
