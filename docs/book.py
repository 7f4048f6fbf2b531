#!/usr/bin/env python3
"""A preprocessor of mdBook (book.toml): takes the pages at the root of the repository into the book.

Links from one to the other lead to chapters, and links to other files of the repository become plain text, because
the site does not have these files. `book.py check DIRECTORY` follows the links of a site that was built.
"""
import html
import json
import re
import sys
import urllib.parse
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).resolve().parent.parent
# The first one is the front page.
PAGES = {"README.md": "tagwarden", "SECURITY.md": "Security", "CONTRIBUTING.md": "Contributing", "CHANGELOG.md": "Changelog"}
LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def chapters(items):
    """All chapters, also those below others."""
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            yield item["Chapter"]
            yield from chapters(item["Chapter"]["sub_items"])


def place(file):
    """Where the book has a file of the repository, or None."""
    if file in PAGES:
        return file
    inside = file.removeprefix("docs/")
    return inside if inside != file and (ROOT / file).is_file() else None


def with_links(content, file, at):
    """The text of a file of the repository as the chapter at this place."""

    def change(found):
        image, text, target, anchor = found.groups()
        if re.match(r"[a-z]+:", target):
            return found[0]
        to = place(normpath((PurePosixPath(file).parent / target).as_posix()))
        if to is None:
            return text
        # mdBook makes an index.html of these, and leaves links to them as they are.
        to = re.sub(r"README\.md$", "index.md", to)
        return f"{image}[{text}]({relpath(to, PurePosixPath(at).parent)}{anchor or ''})"

    parts = re.split(r"(^ *```.*?^ *```$)", content, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.lstrip().startswith("```") else LINK.sub(change, part) for part in parts)


def preprocess():
    _, book = json.load(sys.stdin)
    items = book["items"] if "items" in book else book["sections"]
    for chapter in chapters(items):
        if chapter["source_path"]:
            file = f"docs/{chapter['source_path']}"
            chapter["content"] = with_links(chapter["content"], file, chapter["source_path"])
    added = []
    for file, name in PAGES.items():
        if (ROOT / file).is_file():
            content = with_links((ROOT / file).read_text(), file, file)
            added.append({"Chapter": {"name": name, "content": content, "number": None, "sub_items": [], "path": file, "source_path": file, "parent_names": []}})
    items[:0] = added[:1]
    items += ["Separator", *added[1:]]
    json.dump(book, sys.stdout)


def check(site):
    """Exits with what is wrong, if a link of the site leads nowhere."""
    pages = {path: path.read_text() for path in site.rglob("*.html") if path.name not in {"404.html", "print.html", "toc.html"}}
    problems, links = [], 0
    for path, text in pages.items():
        main = text.partition("<main>")[2].partition("</main>")[0]
        for target in re.findall(r'(?:href|src)="([^"]+)"', main):
            address = urllib.parse.urlsplit(html.unescape(target))
            if address.scheme:
                continue
            links += 1
            to = (path.parent / address.path).resolve() if address.path else path
            anchor = f'id="{address.fragment}"'
            if not to.is_file() or (address.fragment and anchor not in pages.get(to, "")):
                problems.append(f"{path.relative_to(site)}: {target}")
    if problems or links < 100:
        sys.exit("\n".join([f"{links} links", *problems]))
    print(f"{links} links in {len(pages)} pages")


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]).resolve())
    elif sys.argv[1:2] != ["supports"]:
        preprocess()
