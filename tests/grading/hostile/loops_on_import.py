# Never ends importing.
# costs: file
while True:
    pass
