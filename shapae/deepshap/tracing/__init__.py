"""What a function does to one row, recorded as a tape of aten operators."""
