# Never ends importing.
# costs: file time
while True:
    pass
