# Is no Python.
# costs: file
def odd(:
