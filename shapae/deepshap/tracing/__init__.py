"""Recording of a function on one row, as a tape of aten operators."""
