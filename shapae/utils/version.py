"""The version of shapae, in one place: ``shapae.__version__``, the distribution and the records of results use it.

The versions of other packages are compared by their first two numbers.
"""

__version__ = "0.1.0"


def major_minor(version: str) -> tuple[int, int]:
    """Read the first two numbers of the version of a package.

    >>> major_minor("2.14.1+cpu")
    (2, 14)
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
