"""What is built on the Explainer: anomalies, rankings, comparisons."""
