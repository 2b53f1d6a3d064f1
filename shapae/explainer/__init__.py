"""The Explainer, and what comes out of it."""
