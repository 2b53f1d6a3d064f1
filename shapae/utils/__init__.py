"""Tools in which nothing is about SHAP values."""
