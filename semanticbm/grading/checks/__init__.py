"""The checks, one module for each file of exercises."""
