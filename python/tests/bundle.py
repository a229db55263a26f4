# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a small bundle (docs/formats.md) by hand, so that the binding is tested without the compiler."""

import hashlib
import json
import pathlib
import struct
import subprocess

SOURCE = """
#include <stdint.h>
// y[i] = 2 * x[i]; total[i] += x[i]
void twice(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0]; float *y = bindings[1], *total = bindings[2];
  for (int64_t i = begin; i < end; ++i) { y[i] = 2 * x[i]; total[i] += x[i]; }
}
// y[i] = table[ids[i]], 16-bit elements
void pick(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const int32_t *ids = bindings[0]; const uint16_t *table = bindings[1]; uint16_t *y = bindings[2];
  for (int64_t i = begin; i < end; ++i) y[i] = table[ids[i]];
}
"""

GPU_SOURCE = """
#include "mohd/emulator/operations.h"
const struct mohd_emu_table *mohd_emulator;
// y[i] = 2 * x[i]; total[i] += x[i]; params: the number of elements
void twice(const void *const *arguments) {
  const float *x = *(const float *const *)arguments[0];
  float *y = *(float *const *)arguments[1], *total = *(float *const *)arguments[2];
  const int64_t i = 32 * (int64_t)mohd_emulator->special_register(MOHD_EMU_CTAID_X) +
                    mohd_emulator->special_register(MOHD_EMU_TID_X);
  if (i >= *(const int64_t *)arguments[3]) return;
  mohd_emulator->check_load(&x[i], 4, MOHD_EMU_GLOBAL, "load x");
  mohd_emulator->check_store(&y[i], 4, MOHD_EMU_GLOBAL, "store y");
  y[i] = 2 * x[i]; total[i] += x[i];
}
"""
HEADERS = pathlib.Path(__file__).resolve().parent.parent.parent / "runtime/include"


def dispatch(kernel, grid, *bindings):
    """A dispatch of the manifest; bindings are (kind, index, size)."""
    return {"kernel": kernel, "grid": grid, "params": [],
            "bindings": [{kind: i, "offset": "0", "size": size} for kind, i, size in bindings]}


def tensor(name, dtype, *shape, **more):
    """An input or output of the manifest."""
    return {"name": name, "dtype": dtype, "shape": list(shape), **more}


def manifest_of(code):
    """The manifest for the shared object `code`; the segment's offset is still 0."""
    return {
        "format": {"major": 1, "minor": 0}, "required_features": [], "abi": {"min": 1, "max": 1},
        "producer": {"name": "test", "version": "0", "llvm": "none", "flags": [], "inputs": []},
        "model": None, "files": [], "weights": [],
        "segments": [{"name": "code", "offset": 0, "size": len(code), "align": 64, "sha256": hashlib.sha256(code).hexdigest()}],
        "entry_points": [
            {"name": "twice", "dims": ["T"],
             "inputs": [tensor("x", "f32", "T", 4), tensor("total", "f32", "T", 4, mutable=True)],
             "outputs": [tensor("y", "f32", "T", 4)]},
            {"name": "pick", "dims": ["T", "V"],
             "inputs": [tensor("ids", "i32", "T", range=["0", "V"]), tensor("table", "bf16", "V")],
             "outputs": [tensor("y", "bf16", "T")]},
        ],
        "targets": [{
            "kind": "cpu", "arch": "x86-64", "features": [], "segment": 0,
            "kernels": [{"name": "twice", "bindings": 3, "params": 0}, {"name": "pick", "bindings": 3, "params": 0}],
            "programs": [
                {"entry": 0, "workspace": "T*64", "dispatches": [
                    dispatch(0, "T*4", ("input", 0, "T*16"), ("output", 0, "T*16"), ("input", 1, "T*16"))]},
                {"entry": 1, "workspace": "0", "dispatches": [
                    dispatch(1, "T", ("input", 0, "T*4"), ("input", 1, "V*2"), ("output", 0, "T*2"))]},
            ]}],
    }


def emulated(code):
    """The manifest with "twice" for the emulator alone."""
    manifest = manifest_of(code)
    twice = dispatch(0, "ceildiv(T,8)", ("input", 0, "T*16"), ("output", 0, "T*16"), ("input", 1, "T*16"))
    manifest["targets"] = [{
        "kind": "emulate", "arch": "sm_80", "host": "x86-64", "features": [], "segment": 0,
        "kernels": [{"name": "twice", "bindings": 3, "params": 1, "maps": 0, "threads": 32, "shared_bytes": 0}],
        "programs": [{"entry": 0, "workspace": "0", "dispatches": [{**twice, "params": ["T*4"], "maps": []}]}]}]
    return manifest


def on_cuda(code):
    """The same for a GPU; the fake driver of the runtime's tests takes the shared object for a cubin."""
    manifest = emulated(code)
    (target,) = manifest["targets"]
    del target["host"]
    target |= {"kind": "cuda", "code": "cubin"}
    target["kernels"][0] |= {"registers": 32, "static_shared_bytes": 0, "blocks_per_sm": 16}
    return manifest


def write(folder, source=SOURCE, manifest_of=manifest_of):
    """Writes the bundle into `folder` and returns its path. It needs the C compiler `cc`."""
    (folder / "kernels.c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-I", HEADERS, "-o", folder / "kernels.so", folder / "kernels.c"], check=True)
    code = (folder / "kernels.so").read_bytes()
    manifest = manifest_of(code)
    first = manifest["segments"][0]["offset"] = 4096  # leaves room enough
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    head = struct.pack("<8sHHIQII", b"MOHDBNDL", 1, 0, len(text), first + len(code), 0, 0)
    data = head + hashlib.sha256(head + text).digest() + text
    path = folder / "small.mohdb"
    path.write_bytes(data.ljust(first, b"\0") + code)
    return path
