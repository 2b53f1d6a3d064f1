"""Which backend to believe: backends side by side, beside a reference and two controls."""
