# Deletes its working folder.
# costs: nothing
import os
import shutil

shutil.rmtree(os.getcwd(), ignore_errors=True)
shutil.rmtree("/tmp", ignore_errors=True)
