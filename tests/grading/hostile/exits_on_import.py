# Ends its process on import.
# costs: file
import os

os._exit(0)
