# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads assembly (x86-64 in AT&T syntax, or AArch64) from a file and prints a line for each innermost loop that multiplies
and adds vectors, those with the most such instructions first:

    loop of KERNEL: F fma, I instructions, S stack accesses (V of vectors), C calls

A loop is what lies between a label and the last branch back to it, if no shorter such range lies within.
"""

import collections
import re
import sys

Instruction = collections.namedtuple("Instruction", "name operands")
FMA = re.compile(r"vfmadd\w*p[sd]$|fmla$")
X86_JUMP = re.compile(r"j[a-z]+$")
ARM_JUMP = re.compile(r"(b|b\.\w+|cbn?z|tbn?z)$")
STACK = re.compile(r"\(%r[sb]p|\[(sp|x29)\b")
VECTOR = re.compile(r"%[xyz]mm\d|\b[qv]\d+\b")
CALL = re.compile(r"(call\w*|bl|blr)$")


def functions(text):
    """Yields (name, labels, instructions); labels give the index of the instruction after them."""
    name, labels, instructions = None, {}, []
    for line in text.splitlines():
        line = re.split(r"\s(?:#|//)", line)[0].rstrip()
        label = re.match(r"([\w.$]+):", line)
        if label and not label[1].startswith("."):
            if name and instructions:
                yield name, labels, instructions
            name, labels, instructions = label[1], {}, []
        elif label:
            labels[label[1]] = len(instructions)
        elif re.match(r"\s+[a-z]", line):
            mnemonic, _, operands = line.strip().partition("\t")
            instructions.append(Instruction(mnemonic.split()[0], operands))
    if name and instructions:
        yield name, labels, instructions


def innermost_loops(labels, instructions):
    """The ranges [begin, end) of instructions from a label to the last branch back to it that hold no other such range."""
    ends = {}
    for place, (name, operands) in enumerate(instructions):
        target = operands.split(",")[-1].strip()
        if (X86_JUMP.match(name) or ARM_JUMP.match(name)) and labels.get(target, place + 1) <= place:
            ends[labels[target]] = place + 1
    ranges = sorted(ends.items())
    return [r for r in ranges if not any(o != r and r[0] <= o[0] and o[1] <= r[1] for o in ranges)]


def main():
    with open(sys.argv[1]) as file:
        text = file.read()
    lines = []
    for name, labels, instructions in functions(text):
        for begin, end in innermost_loops(labels, instructions):
            body = instructions[begin:end]
            fma = sum(bool(FMA.match(i.name)) for i in body)
            stack = [i.operands for i in body if STACK.search(i.operands)]
            spills = sum(bool(VECTOR.search(operands)) for operands in stack)
            calls = sum(bool(CALL.match(i.name)) for i in body)
            if fma:
                lines.append((-fma, f"loop of {name}: {fma} fma, {len(body)} instructions, "
                                    f"{len(stack)} stack accesses ({spills} of vectors), {calls} calls"))
    print("\n".join(line for _, line in sorted(lines)))


main()
