"""One loop a stage, and what it is made of."""
