"""A template repository for GitHub Classroom: fresh exercises, a workflow that grades every push, a page for students.

`template(exercises)` gives its files as texts; `semanticbm init FOLDER --classroom` writes them. The teacher puts the
folder into a repository, marks that as a template, and names it in an assignment.

The workflow runs on a machine that belongs to one student's repository alone, so it grades with `--trusted`. Points that
count are best taken again by the teacher, with `semanticbm grade` on all repositories: a student can edit a workflow.
"""

from __future__ import annotations

from semanticbm import __version__

WORKFLOW = """\
name: grade
on: [push, workflow_dispatch]

jobs:
  grade:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: install
        run: pip install "semanticbm=={version}" --extra-index-url https://download.pytorch.org/whl/cpu
      - name: grade
        run: semanticbm grade exercises --held-out --trusted --json points.json
      - name: summary
        if: always()
        run: |
          python - <<'END' >> "${{GITHUB_STEP_SUMMARY:-/dev/stdout}}"
          import json
          points = json.load(open("points.json"))
          print(f"## {{points['points']:g}} of {{points['max_points']:g}} points\\n")
          print("| exercise | points | status |\\n|---|---|---|")
          for one in points["exercises"]:
              print(f"| {{one['number']}} {{one['id']}} | {{one['points']:g}} of {{one['max_points']:g}} | {{one['status']}} |")
          END
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: points
          path: points.json
"""

README = """\
# Exercises

Your answers go into the files in `exercises/`, one file a chapter. Each function there begins as
`raise NotImplementedError(...)`: put your code in its place.

    pip install semanticbm=={version}
    semanticbm check                     # the next exercise, and what is not right yet
    semanticbm check 1.1 --hint 2        # more help for one exercise
    semanticbm check 1.1 --held-out      # also on inputs that `check` alone does not show

When you push, the workflow `grade` counts your points, on the held-out inputs, too. Find them under *Actions*, in the
summary of the last run. Begun and untouched exercises cost nothing: points are only ever added.

Do not rename the files or the functions, and leave `.github/` as it is.
"""

IGNORED = ".semanticbm/\n__pycache__/\npoints.json\n"


def template(exercises: dict[str, str]) -> dict[str, str]:
    """{path in the repository: text}. `exercises`: {file name: text of the fresh stubs}."""
    return {f"exercises/{name}": text for name, text in exercises.items()} | {
        ".github/workflows/grade.yml": WORKFLOW.format(version=__version__),
        ".gitignore": IGNORED,
        "README.md": README.format(version=__version__),
    }
