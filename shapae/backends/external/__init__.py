"""The explainers of shap and captum as backends."""
