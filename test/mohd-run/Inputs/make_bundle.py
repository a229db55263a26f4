# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a small bundle, straight from docs/formats.md, so that mohd-run is tested without the compiler.

usage: make_bundle.py KIND OUTPUT, where KIND is
  lm       a language model of 256 bytes and 32 positions that repeats with period 3
  ids      the same without a tokenizer
  nan      the same, but every logit is NaN
  no-sample  a language model without the entry point sample
  tensors  entry points `accumulate` (f32, with a mutable input) and `copy_TYPE` for every element type
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

VOCABULARY, POSITIONS = 256, 32
SIZES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8, "i8": 1, "i32": 4, "i64": 8}


def compile_kernels():
    source = pathlib.Path(__file__).with_name("kernels.c")
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder, "kernels.so")
        flags = ["-O1", "-shared", "-fPIC", "-nostdlib", "-fuse-ld=lld", "-Wl,--build-id=none"]
        subprocess.run(["clang", *flags, "-o", str(library), str(source)], check=True)
        return library.read_bytes()


def tensor(name, dtype, shape, **more):
    return {"name": name, "dtype": dtype, "shape": shape, **more}


def binding(kind, index, size):
    return {kind: index, "offset": "0", "size": size}


class Bundle:
    """Collects kernels and entry points, and writes them."""

    def __init__(self):
        self.kernels, self.entries, self.programs = [], [], []

    def entry(self, name, dims, inputs, outputs, dispatches):
        """`dispatches` holds (kernel, grid, params, bindings)."""
        program = {"entry": len(self.entries), "workspace": "0", "dispatches": []}
        for kernel, grid, params, bindings in dispatches:
            names = [known["name"] for known in self.kernels]
            if kernel not in names:
                self.kernels.append({"name": kernel, "bindings": len(bindings), "params": len(params)})
                names.append(kernel)
            program["dispatches"].append(
                {"kernel": names.index(kernel), "grid": grid, "params": params, "bindings": bindings})
        self.entries.append({"name": name, "dims": dims, "inputs": inputs, "outputs": outputs})
        self.programs.append(program)

    def write(self, path, model):
        code = compile_kernels()
        manifest = {
            "format": {"major": 1, "minor": 0}, "required_features": [], "abi": {"min": 1, "max": 1},
            "producer": {"name": "make_bundle", "version": "1", "llvm": "none", "flags": [], "inputs": []},
            "model": model, "files": [], "weights": [], "entry_points": self.entries,
            "segments": [{"name": "code", "offset": 0, "size": len(code), "align": 64,
                          "sha256": hashlib.sha256(code).hexdigest()}],
            "targets": [{"kind": "cpu", "arch": "x86-64", "features": [], "segment": 0, "kernels": self.kernels,
                         "programs": self.programs}]}
        offset = 0
        while True:  # the offset is in the manifest, whose length decides the offset
            manifest["segments"][0]["offset"] = offset
            text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
            start = (64 + len(text) + 63) // 64 * 64
            if start == offset:
                break
            offset = start
        header = b"MOHDBNDL" + struct.pack("<HHIQII", 1, 0, len(text), offset + len(code), 0, 0)
        digest = hashlib.sha256(header + text).digest()
        padding = bytes(offset - 64 - len(text))
        pathlib.Path(path).write_bytes(header + digest + text + padding + code)


def language_model(kind):
    bundle = Bundle()
    ids = {"range": ["0", str(VOCABULARY)]}
    caches = [tensor(name, "f32", [1, "B", "S", 1], mutable=True) for name in ("k_cache", "v_cache")]
    positions = {"range": ["0", "S"]}
    cache_size, t_size = "B*S*4", "T*4"

    def finish(rows, dispatches):
        if kind == "nan":
            size = f"{rows}*{VOCABULARY}"
            return [("not_a_number", "1", [size], [binding("output", 0, size + "*4")])]
        return dispatches

    logits = f"R*{VOCABULARY * 4}"
    bundle.entry("prefill", ["T", "R", "B", "S"],
                 [tensor("tokens", "i32", ["T"], **ids), tensor("sequence", "i32", ["T"], range=["0", "B"]),
                  tensor("position", "i32", ["T"], **positions), tensor("rows", "i32", ["R"], range=["0", "T"]), *caches],
                 [tensor("logits", "f32", ["R", VOCABULARY])],
                 finish("R", [("store_prompt", "T", ["T", "S"],
                               [*(binding("input", i, t_size) for i in range(3)), binding("input", 4, cache_size)]),
                              ("predict_rows", "R", [str(VOCABULARY)],
                               [binding("input", 3, "R*4"), binding("input", 2, t_size),
                                binding("input", 4, cache_size), binding("output", 0, logits)])]))
    bundle.entry("decode", ["T", "B", "S"],
                 [tensor("tokens", "i32", ["T"], **ids), tensor("position", "i32", ["T"], **positions), *caches],
                 [tensor("logits", "f32", ["T", VOCABULARY])],
                 finish("T", [("decode_step", "T", [str(VOCABULARY), "S"],
                               [binding("input", 0, t_size), binding("input", 1, t_size), binding("input", 2, cache_size),
                                binding("output", 0, logits.replace("R", "T"))])]))
    settings = {"temperature": "f32", "top_k": "i32", "top_p": "f32", "draw": "f32"}  # which its kernel does not heed
    if kind != "no-sample":
        bundle.entry("sample", ["T"], [tensor("logits", "f32", ["T", VOCABULARY]), *(tensor(*setting, ["T"]) for setting in settings.items())],
                     [tensor("tokens", "i32", ["T"])],
                     [("choose_largest", "T", [str(VOCABULARY)], [binding("input", 0, logits.replace("R", "T")), binding("output", 0, t_size)])])
    model = {"type": "mohd", "vocab_size": VOCABULARY, "max_positions": POSITIONS, "num_layers": 1, "kv_width": 1,
             "tokenizer": None if kind == "ids" else "bytes", "config": {}}
    return bundle, model


def tensor_functions():
    bundle = Bundle()
    bundle.entry("accumulate", ["M", "N"],
                 [tensor("x", "f32", ["M", "N"]), tensor("state", "f32", ["M", "N"], mutable=True)],
                 [tensor("y", "f32", ["M", "N"])],
                 [("accumulate", "M*N", [], [binding("input", 0, "M*N*4"), binding("input", 1, "M*N*4"),
                                             binding("output", 0, "M*N*4")])])
    for dtype, size in SIZES.items():
        bundle.entry("copy_" + dtype, ["M"], [tensor("x", dtype, ["M"])], [tensor("y", dtype, ["M"])],
                     [("copy", f"M*{size}", [], [binding("input", 0, f"M*{size}"), binding("output", 0, f"M*{size}")])])
    return bundle, None


def main():
    kind, path = sys.argv[1:]
    bundle, model = tensor_functions() if kind == "tensors" else language_model(kind)
    bundle.write(path, model)


main()
