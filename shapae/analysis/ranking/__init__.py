"""Which features matter at all, by several methods side by side."""
