"""Measurements, side by side with the peers in one process. Each prints a table and writes JSON to results/."""
