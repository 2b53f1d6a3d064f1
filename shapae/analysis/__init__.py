"""Analyses with the Explainer: anomalies, rankings, comparisons."""
