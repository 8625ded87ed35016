"""What `mkdocs.yml` needs besides its plugins: pages from outside docs/, links between them, equations, scripts.

A page is written to be read on a Git host, too. There `[bench/README.md](../bench/README.md)` is a file of the
repository, `$x$` an equation, and a paragraph with nothing but a link to a script is that link. Here the file becomes a
page of the site, the equation a drawing, and the link the script itself.

Equations are drawn by Matplotlib into the page: MathML would need no drawing, but a font for mathematics, which most
Linux systems lack, and MathJax a network or a copy of it.
"""

import html
import os
import re
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "README.md": "overview.md",
    "bench/README.md": "benchmarks.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages that are not in docs/, and what they are on the site."""

FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s#]+)")
SCRIPT = re.compile(r"^\[`[^`\]]+`\]\(([^)\s]+\.(?:py|yaml))\)$", re.MULTILINE)
LANGUAGES = {".py": "python", ".yaml": "yaml"}


def on_config(config: MkDocsConfig) -> None:
    config.markdown_extensions.append(Equations())  # pyright: ignore[reportArgumentType]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and every other file that a page links to."""
    for path, name in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for page in [*files.documentation_pages()]:
        for target in _targets(page):
            elsewhere = not target.startswith("docs/") and target not in ELSEWHERE and (ROOT / target).is_file()
            if elsewhere and files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """A script in the place of a link that stands alone, and links within the site."""
    here, name = _source(page.file).parent, page.file.src_uri

    def script(found: re.Match[str]) -> str:
        path = (here / found[1]).resolve()
        title = path.relative_to(ROOT).as_posix()
        return f'```{LANGUAGES[path.suffix]} title="{title}"\n{path.read_text()}```'

    def link(found: re.Match[str]) -> str:
        if _is_foreign(found[2]):
            return found[0]
        path = _in_repository(here / found[2])
        target = ELSEWHERE.get(path, path.removeprefix("docs/"))
        return found[1] + os.path.relpath(target, os.path.dirname(name) or ".")

    return _outside_fences(SCRIPT.sub(script, markdown), lambda text: LINK.sub(link, text))


def _targets(page: File) -> list[str]:
    """The files of the repository that a page links to."""
    text, here = FENCE.sub("", page.content_string), _source(page).parent
    return [_in_repository(here / target) for _, target in LINK.findall(text) if not _is_foreign(target)]


def _is_foreign(target: str) -> bool:
    return "://" in target or target.startswith("mailto:")


def _in_repository(path: Path) -> str:
    return os.path.relpath(os.path.normpath(path), ROOT)


def _source(page: File) -> Path:
    assert page.abs_src_path is not None
    return Path(page.abs_src_path)


def _outside_fences(text: str, change: Any) -> str:
    since, parts = 0, []
    for fence in FENCE.finditer(text):
        parts += [change(text[since : fence.start()]), fence[0]]
        since = fence.end()
    return "".join([*parts, change(text[since:])])


class Equations(Extension):
    """`$…$` in a line, and `$$…$$` as a paragraph, in the subset of LaTeX that Matplotlib draws."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        # After code (190) and before escapes (180): neither code nor LaTeX's backslashes are touched.
        md.inlinePatterns.register(Equation(r"\$\$(.+?)\$\$", md), "equation", 187)
        md.inlinePatterns.register(Equation(r"(?<![\w$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\w)", md), "math", 186)


class Equation(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        drawing = drawn(" ".join(m[1].split()))
        if m[0].startswith("$$"):
            drawing = f'<span class="equation">{drawing}</span>'
        return self.md.htmlStash.store(drawing), m.start(0), m.end(0)


def drawn(latex: str) -> str:
    """The equation as SVG in the colour of the text, its baseline on that of the line."""
    path = TextPath((0, 0), f"${latex}$", prop=FontProperties(math_fontfamily="cm", size=FONT_SIZE))
    box = path.get_extents()
    strokes = " ".join(
        LETTERS[int(code)] + " ".join(f"{x:.4g} {-y:.4g}" for x, y in points.reshape(-1, 2) if code != CLOSE)
        for points, code in path.iter_segments()
    )
    left, top, width, height = box.x0 - 2, -box.y1 - 2, box.width + 4, box.height + 4
    em = EM_PER_UNIT
    return (
        f'<svg class="math" role="img" viewBox="{left:.4g} {top:.4g} {width:.4g} {height:.4g}" '
        f'style="width:{width * em:.3f}em;height:{height * em:.3f}em;vertical-align:{-(top + height) * em:.3f}em">'
        f'<title>{html.escape(latex)}</title><path d="{strokes}"/></svg>'
    )


FONT_SIZE = 100
EM_PER_UNIT = 1.12 / FONT_SIZE
"""Computer Modern is smaller than a page's font of the same size."""

LETTERS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
"""Of SVG, by Matplotlib's codes of a path."""

CLOSE = 79
