"""Collection of the tests of the native engine."""

# The zoo has models and no tests; pytest would import it twice, by two names, and register each model twice.
collect_ignore = ["zoo"]
