"""The preface's table of times names every chapter that runs code."""

import json

from semanticbm.builder.project import read_project
from semanticbm.builder.times import FILE


def test_every_chapter_with_code_has_its_time():
    project = read_project()
    times = json.loads((project.root / FILE).read_text(encoding="utf-8"))["chapters"]
    with_code = {
        chapter.path.as_posix()
        for chapter in project.chapters
        if chapter.path.name != "index.qmd" and "```{python}" in chapter.source
    }
    assert set(times) == with_code
    assert all(seconds > 0 for seconds in times.values())
