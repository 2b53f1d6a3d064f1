"""Global ranking of features by several methods."""
