"""The version of shapae, in one place: ``shapae.__version__``, the distribution and the records of results use it."""

__version__ = "0.1.0"
