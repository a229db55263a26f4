# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training text: the prose paragraphs of Python's documentation, from Debian's package python3.11-doc.

Fetched by apt, tags stripped, reduced to ASCII, kept under $XDG_CACHE_HOME/mohd. Pages are put in the order of a hash of their path, so
that the last 5 % (the held-out part) is a sample of the whole.
"""

import hashlib
import html.parser
import os
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "python3.11-doc"
HELD_OUT = 0.05
ASCII = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-"})


class Paragraphs(html.parser.HTMLParser):
    """Collects the text of every `p` element."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "p":
            self.found.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "p"

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def prose(page):
    """The paragraphs of an HTML page that are long enough to be prose, a blank line after each."""
    body = page.partition('role="main">')[2].partition('<div class="clearer">')[0]
    parser = Paragraphs()
    parser.feed(body)
    lines = (" ".join(p.replace("¶", "").split()) for p in parser.found)
    return "".join(line + "\n\n" for line in lines if len(line) >= 60)


def fetch():
    """The text as bytes, from the cache or from Debian's archive."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mohd"
    target = cache / f"{PACKAGE}.txt"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=work, check=True, stdout=sys.stderr)  # the text goes to stdout
            (deb,) = pathlib.Path(work).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, f"{work}/root"], check=True)
            root = pathlib.Path(work) / "root/usr/share/doc/python3.11/html"
            pages = {p.relative_to(root).as_posix(): p for p in root.glob("*/*.html") if p.name != "changelog.html"}
            order = sorted(pages, key=lambda name: hashlib.sha256(name.encode()).digest())
            text = "".join(prose(pages[name].read_text()) for name in order)
            part = pathlib.Path(work) / "text"
            part.write_bytes(text.translate(ASCII).encode("ascii", "ignore"))
            part.replace(target)
    return target.read_bytes()


def split(text):
    """(training part, held-out part): the last 5 % is held out."""
    cut = len(text) - int(len(text) * HELD_OUT)
    return text[:cut], text[cut:]


if __name__ == "__main__":
    # the held-out part for `python -m mohd.compare --text`; with --whole all of it, for `python -m mohd.train`
    sys.stdout.buffer.write(fetch() if sys.argv[1:] == ["--whole"] else split(fetch())[1])
