"""Explanations of many rows in folders, block by block, so that interrupted work continues."""
