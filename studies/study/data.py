# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The data of the study: prose of Python's documentation, and a task whose tokens need specialised dimensions by construction.

The task "tables": `domains` tables, each a random mapping of `symbols` queries to `symbols` answers. The tokens are triples
(domain, query, answer), each domain and query drawn at random: the answer follows from the two tokens before it, from one entry
of one table, and nothing else can be predicted. A token of one domain has no use for what the model knows of the others, so a
model whose tokens each see their own dimensions can hold more tables at the same cost. Chance is 1 / symbols.
"""

import hashlib
import pathlib
import subprocess
import sys

import numpy as np

from mohd.files import replace_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def text_file(folder):
    """The path of the training text, fetched by examples/corpus.py if it is not in `folder`."""
    path = folder / "python-doc.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, ROOT / "examples/corpus.py", "--whole"], stdout=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(f"expects examples/corpus.py to fetch the text, or the text in {path}; it ended with {done.returncode}")
        replace_file(path, lambda temporary: temporary.write_bytes(done.stdout))
    return path


def digest(path):
    """The hash of a file, by which a result knows its data."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def held_out_file(folder):
    """The path of the part of the text that mohd.train holds out by default, the last 5 %."""
    text, path = text_file(folder).read_bytes(), folder / "held-out.txt"
    if not path.exists():
        replace_file(path, lambda temporary: temporary.write_bytes(text[len(text) - int(0.05 * len(text)) :]))
    return path


def vocabulary(domains, symbols):
    """Tokens of the task: domains, then queries, then answers."""
    return domains + 2 * symbols


def tables_tokens(domains, symbols, triples, seed):
    """uint16 tokens [3 * triples] of the task."""
    rng = np.random.default_rng(seed)
    answers = np.stack([rng.permutation(symbols) for _ in range(domains)])  # [domains, symbols]
    domain, query = rng.integers(domains, size=triples), rng.integers(symbols, size=triples)
    return np.stack([domain, domains + query, domains + symbols + answers[domain, query]], 1).astype("<u2").ravel()


def tables_file(folder, domains, symbols, triples, seed=0):
    """The path of the task's tokens, written if they are not in `folder`."""
    path = folder / f"tables-{domains}-{symbols}-{triples}-{seed}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tokens = tables_tokens(domains, symbols, triples, seed)

        def write(temporary):
            with open(temporary, "wb") as file:  # np.save would add a suffix to the name
                np.save(file, tokens)

        replace_file(path, write)
    return path
