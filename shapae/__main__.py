"""The command line: ``python -m shapae``."""

from shapae.cli import main

if __name__ == "__main__":  # workers of joblib import this file under another name
    main()
