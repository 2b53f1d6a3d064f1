"""Comparison of backends with a reference and two controls."""
