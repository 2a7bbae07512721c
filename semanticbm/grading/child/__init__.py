"""The student's process: all of the grader that it ever sees.

Nothing here knows a check, an expected value or a hint. In the sandbox this folder is the only part of
`semanticbm.grading` that is in view; the judge stays outside and asks over a pipe (`protocol`).
"""
