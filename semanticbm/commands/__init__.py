"""The command line: `cli` has one thin function for each command, `doctor` looks whether everything works here.

This room stands above all others: it may import any of them, and none of them imports it.
"""
