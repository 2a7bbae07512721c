"""Lets `pytest exercises` give the feedback of `semanticbm check`."""

from semanticbm.grading.collect import pytest_collect_file, pytest_terminal_summary
