"""The user's table, background and groups of features."""
