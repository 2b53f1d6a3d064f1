"""Influence of training rows on the scores of other rows."""
