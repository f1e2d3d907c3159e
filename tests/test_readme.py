"""What the README and the docs show must hold: examples run, flags exist, links lead somewhere, and it is short."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

from infogan.config.presets import PRESETS

FLAG = r"(?<![\w-])--[a-z][a-z0-9-]*"
OTHER_TOOLS_FLAGS = {"--max-restarts", "--standalone", "--nproc-per-node"}  # torchrun's
README_BYTES = 11 * 1024
PICTURES_BYTES = 8_000_000

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
# A comment above a block says how it can be run; in the README every block runs as it stands.
AS_IT_STANDS, ON_A_TRAINED_RUN = "runs as it stands", "runs on a trained and evaluated run"
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```python\n(.*?)```", re.DOTALL)
EXAMPLES = [
    (page, mark or (AS_IT_STANDS if page == "README.md" else ""), code)
    for page, text in PAGES.items()
    for mark, code in BLOCK.findall(text)
]
# test_report.py has a trained run to try it on.
TRAINED_RUN_EXAMPLES = {page: code for page, mark, code in EXAMPLES if mark == ON_A_TRAINED_RUN}


def without_code(text: str) -> str:
    """The text of a page without what is in code blocks, fenced or indented, or in backticks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))


def links(text: str) -> list[str]:
    """The targets of the links and pictures that stay within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [target for target in found if "://" not in target]


def pictures(page: str) -> list[Path]:
    """The files of the pictures that a page shows."""
    return [(ROOT / page).parent / path for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGES[page])]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_the_readme_s_example_of_the_library_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = (code for page, _, code in EXAMPLES if page == "README.md")
    assert len(code.splitlines()) <= 15
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["x"].shape == (10, 1, 28, 28)
    assert not any(tmp_path.iterdir())  # a Trainer writes nothing


def test_every_example_says_how_it_can_be_run():
    assert {mark for _, mark, _ in EXAMPLES} == {AS_IT_STANDS, ON_A_TRAINED_RUN}


@pytest.mark.parametrize(
    ("page", "code"), [(page, code) for page, mark, code in EXAMPLES if mark == AS_IT_STANDS and page != "README.md"]
)
def test_the_docs_examples_run_as_they_stand(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {})


def test_every_flag_shown_exists(script):
    shown = "\n".join(PAGES.values())
    known = {
        path.name: set(re.findall(FLAG, script(path.name, "--help").stdout)) for path in (ROOT / "scripts").glob("*.py")
    }
    commands = re.findall(r"scripts/(\w+\.py)([^\n`#]*)", shown)
    assert len(commands) > 20
    for name, flags in commands:
        assert set(re.findall(FLAG, flags)) <= known[name], (name, flags)
    # A flag that a sentence names is one of some script, or of torchrun, pip or pytest, whose own are few.
    named = {
        flag for code in re.findall(r"`([^`\n]*)`", shown) if "scripts/" not in code for flag in re.findall(FLAG, code)
    }
    unknown = named - set().union(*known.values()) - OTHER_TOOLS_FLAGS
    assert not unknown
    assert not re.findall(FLAG, without_code(re.sub(r"<!--.*?-->", "", shown)))  # flags are in backticks
    assert set(re.findall(r"--preset (\w+)", shown)) <= PRESETS.keys()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_is_there(page):
    for target in links(PAGES[page]):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def test_every_page_of_the_docs_is_in_its_index():
    listed = {target.partition("#")[0] for target in links(PAGES["docs/README.md"])}
    assert {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"} <= listed


def test_the_table_of_modules_is_complete():
    table = "\n".join(line for line in PAGES["docs/method.md"].splitlines() if line.startswith("| `"))
    listed = set(re.findall(r"`([\w/]+\.py)`", table))
    package = ROOT / "infogan"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert listed == modules


def test_pictures_are_under_8_mb_in_all():
    assert len(pictures("README.md")) == 3
    shown = {path.resolve() for page in PAGES for path in pictures(page)}
    assert sum(path.stat().st_size for path in shown) < PICTURES_BYTES
