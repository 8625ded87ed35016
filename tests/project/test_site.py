"""The documentation as a site: every public name and page is on it, and it needs no network."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
import yaml

import aelle
import aelle.data
import aelle.lyapunov
import aelle.tasks
from browsers import BROWSER, opened
from sweeps import ROOT

DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
FROM_ELSEWHERE = {
    "overview.md": "README.md",
    "benchmarks.md": "bench/README.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
}


class Entry(NamedTuple):
    """An object of the reference, and the members that are shown with it."""

    path: str
    members: list[str]

    def value(self) -> Any:
        """Its module is the longest part of the path that can be imported."""
        parts = self.path.split(".")
        for length in range(len(parts) - 1, 0, -1):
            try:
                value: Any = import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            for name in parts[length:]:
                value = getattr(value, name)
            return value
        raise AssertionError(f"{self.path} cannot be imported")


def entries() -> Iterator[Entry]:
    for page in sorted((DOCS / "reference").glob("*.md")):
        for path, given in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", page.read_text(), re.MULTILINE):
            options = yaml.safe_load(given)["options"] if given else {}
            yield Entry(path, options.get("members", []))


ENTRIES = list(entries())


class Said(NamedTuple):
    value: Any
    docstring: str
    with_class: str


def documented() -> dict[str, Said]:
    """Every function, class and member of the reference, what is said of it, and of its class as well."""
    found = {}
    for path, members in ENTRIES:
        value = Entry(path, members).value()
        if not callable(value):
            continue
        of_class = inspect.getdoc(value) or ""
        found[path] = Said(value, of_class, of_class)
        for name in members:
            member = inspect.getattr_static(value, name)
            for wrapped in ("fget", "func", "__func__"):
                member = getattr(member, wrapped, None) or member
            own = inspect.getdoc(member) or ""
            found[f"{path}.{name}"] = Said(member, own, f"{own} {of_class}")
    return found


DOCUMENTED = documented()


def test_every_public_name_is_in_the_reference():
    there = {entry.path for entry in ENTRIES}
    for package, homes in (
        (aelle, ["aelle"]),
        (aelle.lyapunov, ["aelle", "aelle.lyapunov"]),
        (aelle.tasks, ["aelle.tasks"]),
        # The function lorenz is in a module of that name.
        (aelle.data, ["aelle.data", "aelle.data.lorenz"]),
    ):
        missing = [name for name in package.__all__ if there.isdisjoint(f"{home}.{name}" for home in homes)]
        assert not missing, f"no page of docs/reference has {package.__name__}.{', '.join(missing)}"


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_docstring_names_every_parameter(path):
    value, own, with_class = DOCUMENTED[path]
    assert own, f"{path} has no docstring"
    options = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        given = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return
    names = [one.name for one in given if one.name not in ("self", "cls") and one.kind not in options]
    missing = [name for name in names if not re.search(rf"\b{name}\b", with_class)]
    assert not missing, f"the docstring of {path} does not say what {', '.join(missing)} is"


def in_navigation(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    else:
        for one in part.values() if isinstance(part, dict) else part:
            yield from in_navigation(one)


def test_every_page_is_in_the_navigation_once():
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(in_navigation(SETTINGS["nav"])) == sorted([*pages, *FROM_ELSEWHERE])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built where no request leaves the machine, if that can be had."""
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("MkDocs is not installed: make docs installs it")
    folder = tmp_path_factory.mktemp("site")
    alone = ["unshare", "--net", "--map-root-user"]
    try:
        offline = subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        offline = False
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*(alone if offline else []), *build], cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return folder


FETCHED = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=["']?([^"'\s>]+)""")
LINKED = re.compile(r"""<a\b[^>]*?\bhref=["']?([^"'\s>]+)""")


@pytest.mark.long
def test_the_site_is_whole_and_fetches_nothing(site):
    """What a page loads, and every file that it links to, is in the site's folder."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(FROM_ELSEWHERE) + 20
    for page in pages:
        text = page.read_text()
        loaded, linked = FETCHED.findall(text), LINKED.findall(text)
        assert not [url for url in loaded if re.match(r"(\w+:)?//", url)], page
        # The page for wrong addresses cannot know where it is shown.
        for url in [] if page.name == "404.html" else [*loaded, *linked]:
            path = unquote(unescape(url)).partition("#")[0].partition("?")[0]
            if path and not re.match(r"\w+:", path):
                assert (page.parent / path).exists(), f"{page.name}: {url}"
    assert "<svg" in (site / "method.html").read_text() and "$" not in words_of(site / "method.html")
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text()), style


def words_of(page: Path) -> str:
    """Its letters and digits, without markup."""
    text = re.sub(r"<(script|style|title)\b.*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"[`*_\\]", "", unescape(re.sub(r"<[^>]*>", "", text))).split())


@pytest.mark.long
def test_docstrings_arrive_as_they_are_written(site):
    """Markdown takes no bracket, asterisk or underscore of a shape or an equation for its own."""
    shown = " ".join(words_of(page) for page in (site / "reference").glob("*.html"))
    shown = shown.replace(" ", "")
    for path, (_, docstring, _) in DOCUMENTED.items():
        for paragraph in re.split(r"\n\s*\n", docstring):
            expected = re.sub(r"[`*_\\\s]", "", paragraph)
            assert expected in shown, f"{path}: {paragraph}"


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_search_works_from_the_file_system(site, tmp_path):
    start = tmp_path / "search.html"
    start.write_text(f'<meta http-equiv="refresh" content="0; url={(site / "index.html").as_uri()}?q=Kaplan">')
    document, complaints = opened(start, 1200, tmp_path / "profile")
    found = re.findall(r'<a href="[^"]*?([\w-]+\.html)[^"]*" class="md-search-result__link"', document)
    assert not complaints and {"glossary.html", "spectra.html"} <= set(found), (found, complaints)


@pytest.mark.long
def test_a_mistake_in_the_docs_would_be_found(site, tmp_path):
    """A link to a page that there is not, in a copy of the pages, ends the build."""
    settings = {**SETTINGS, "docs_dir": str(tmp_path / "docs"), "nav": ["index.md"], "plugins": []}
    settings |= {"hooks": [str(ROOT / "tools" / "docs_site.py")], "site_dir": str(tmp_path / "site"), "validation": {}}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "nowhere.md" in done.stderr
