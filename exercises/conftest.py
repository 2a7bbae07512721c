"""`pytest exercises` gives the feedback of `semanticbm check`, on your own answers; points come from `semanticbm grade`."""

from semanticbm.grading.collect import pytest_collect_file, pytest_terminal_summary
