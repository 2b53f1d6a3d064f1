"""Tables for files of AnnData."""

import pandas as pd


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make a table that a file of AnnData can hold: no levels of names, and strings without gaps."""
    flat = table.reset_index()
    flat.index = flat.index.astype(str)
    for name in flat:
        if not pd.api.types.is_numeric_dtype(flat[name].dtype):
            flat[name] = flat[name].fillna("").astype(str)
    return flat
