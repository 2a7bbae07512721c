# Changes the working folder, the environment and the path.
# costs: nothing
import os
import sys

os.chdir("/tmp")
os.environ.clear()
sys.path.clear()
