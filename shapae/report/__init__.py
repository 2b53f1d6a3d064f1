"""One HTML file about explanations, for readers who compute nothing: ``explanation.report(path)``."""
