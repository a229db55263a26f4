# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rule on error messages: lower-case, no full stop, and some test has seen each of them."""

import re

from .tree import Finding

CALL = re.compile(r"\bemit(?:Op)?(?:Error|Warning)\(|\bemitOptionalError\(")
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def _statement(text, start):
    """The source from `start` to the semicolon that ends the statement, comments removed."""
    depth, position = 0, start
    while position < len(text):
        match = LITERAL.match(text, position)
        if match:
            position = match.end()
            continue
        character = text[position]
        depth += (character in "([{") - (character in ")]}")
        if character == ";" and depth <= 0 or depth < -1:
            break
        position += 1
    return re.sub(r"//.*", "", text[start:position])


def _pieces(statement):
    """The message's literal parts between its arguments; adjacent literals are one."""
    joined = re.sub(r'"\s*\n?\s*"', "", statement)
    return [piece.replace('\\"', '"').replace("\\\\", "\\") for piece in LITERAL.findall(joined)]


def _seen(tree):
    """What tests expect: diagnostics of lit tests and the strings of C++ and Python tests."""
    texts = []
    for path in tree.lit_tests():
        texts += [line for _, line in tree.lines(path)
                  if re.search(r"expected-(error|warning|remark|note)|CHECK|error:|warning:|grep|^//\s*[A-Z][A-Z-]*:", line)]
    for path in tree.matching(".cpp", ".py", ".h"):
        if "test" in str(path).lower() or path.is_relative_to("fuzz"):
            # adjacent literals are one string in C++ and Python
            texts.append(re.sub(r'"\s*\n\s*"', "", tree.text(path)).replace('\\"', '"'))
    return "\n".join(texts)


def message(tree):
    """Each literal part of an error message starts in lower case, ends without a full stop, and is expected by a test."""
    seen = _seen(tree)
    for path in tree.matching(".cpp", ".h"):
        if not (path.is_relative_to("lib") or path.is_relative_to("include")):
            continue
        text = tree.text(path)
        for call in CALL.finditer(text):
            line = text.count("\n", 0, call.start()) + 1
            pieces = _pieces(_statement(text, call.end()))
            if not pieces:
                continue
            if re.match(r"[A-Z][a-z]", pieces[0]):
                yield Finding(path, line, "message", f'"{pieces[0]}" should start in lower case')
            if pieces[-1].endswith(".") and not pieces[-1].endswith("..."):
                yield Finding(path, line, "message", f'"{pieces[-1]}" should not end with a full stop')
            longest = max(pieces, key=len).strip()
            if len(longest) > 3 and longest not in seen:
                yield Finding(path, line, "message", f'no test expects "{longest}"')
