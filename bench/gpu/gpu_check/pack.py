# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the folder that is carried to a machine with a GPU: bundles, the runtime library, the Python that it needs, and check.py."""

import concurrent.futures
import datetime
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np

import mohd
from gpu_check import bundles, cases, correctness, rows
from mohd import find, testing
from mohd.config import Config, Routing

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CUDA, MORE, EMULATED = "cuda:sm_90a,ptx", "cuda:sm_80,sm_90a,ptx", "emulate:sm_90a"
"""PTX serves every GPU; where every kernel counts there is code for sm_80 and for the emulator as well."""
LARGEST = 60 * 2**20


def compile_one(source, output, options):
    """Runs mohd-compile; raises with its message."""
    command = [find.compiler(), *([source] if source else []), *options, "-q", "-o", output]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")


def numbers(entry, key):
    """An array attribute in a weight's entry of the schedule."""
    found = re.search(rf"\b{key} = array<i64: ([\d, ]*)>", entry)
    return [int(number) for number in found.group(1).split(",")] if found else []


def layouts(source, options):
    """{input: [expanded shape, permutation]} of the weights as the kernels for GPUs read them."""
    command = [find.compiler(), source, "--target=cuda:sm_90a", "--weights=none", "--compile-to=schedule", "-q", *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    listed = re.search(r"mohd\.weights = \[(.*?)\]", text.split("\n", 1)[0])
    found = {}
    for entry in re.findall(r"\{(.*?)\}", listed.group(1)) if listed else []:
        name = re.search(r'source = "(.*?)"', entry).group(1) + (".scales" if "quantized scales" in entry else "")
        found[name] = numbers(entry, "expanded_shape"), numbers(entry, "permutation")
    return found


def tiny_weights(config):
    """Random weights of a model, norms and fusion near the identity."""
    rng, made = np.random.default_rng(0), {}
    for name, shape in config.tensor_shapes().items():
        noise = rng.standard_normal(shape)
        if "norm" in name:
            noise = 1 + 0.1 * noise
        elif "fusion" in name:
            noise = np.eye(shape[-1]) + 0.1 * noise
        elif len(shape) == 2:
            noise /= np.sqrt(shape[-1])
        made[name] = noise.astype(np.float32)
    return made


def write_model(folder):
    """A model folder of two layers with f32 weights."""
    config = Config(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                    vocab_size=64, max_position_embeddings=128, mohd=Routing(16, 6, 2))
    header, data, at = {}, [], 0
    for name, array in tiny_weights(config).items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        data.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"torch_dtype": "float32"}))
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


class Packer:
    """Fills a folder."""

    def __init__(self, folder, quick, emulated, parts):
        self.folder, self.quick, self.emulated, self.parts, self.layouts = folder, quick, emulated, parts, {}
        self.options = [f"--target={EMULATED}"] if emulated else [f"--target={MORE}", f"--target={EMULATED}"]

    def code(self):
        """Everything but bundles."""
        shutil.copytree(HERE, self.folder / "gpu_check", ignore=shutil.ignore_patterns("pack.py", "__pycache__"))
        shutil.copy(HERE.parent / "check.py", self.folder)
        (self.folder / "mohd").mkdir()
        for module in (ROOT / "python/mohd").glob("*.py"):
            shutil.copy(module, self.folder / "mohd")
        shutil.copytree(ROOT / "python/mohd/testing", self.folder / "mohd/testing", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(find.runtime().resolve(), self.folder / "mohd/libmohd_rt.so")

    def jobs(self):
        """(source, bundle, options) of every call of the compiler."""
        write_model(self.folder / "models/tiny_f32")
        if "correctness" in self.parts:
            yield from self.correctness()
        for row in rows.bundles(self.quick) if "performance" in self.parts else ():
            yield self.performance(row)

    def correctness(self):
        """The bundles of what is compared with float64."""
        for name, entries in cases.groups(self.quick).items():
            source = self.folder / f"correctness/{name}.mlir"
            source.parent.mkdir(exist_ok=True)
            source.write_text(testing.module_text(entries))
            yield source, source.with_suffix(".mohdb"), [f"--target={CUDA}"] if name.startswith("matrix_") else self.options
        models = [(self.folder / "models/tiny_f32", "f32")]
        if not self.quick:
            shutil.copytree(ROOT / "examples/pydoc-mohd", self.folder / "models/pydoc_bf16")
            models.append((self.folder / "models/pydoc_bf16", "bf16"))
        for folder, dtype in models:
            yield folder, folder.with_suffix(".mohdb"), [*self.options, f"--weights-dtype={dtype}"]

    def performance(self, row):
        """The bundle that rows of the table run; its weights are inputs."""
        bundle = self.folder / f"performance/{row.bundle}.mohdb"
        bundle.parent.mkdir(exist_ok=True)
        target = self.options if self.quick else [f"--target=cuda:{row.target}" if row.target else f"--target={CUDA}"]
        options = [*target, *row.options, "--weights=none"]
        if isinstance(row, rows.Decode):
            model = self.folder / "models/tiny_f32" if row.preset == rows.TINY else None
            return model, bundle, [*options, *([] if model else [f"--preset={row.preset}"])]
        source = bundle.with_suffix(".mlir")
        source.write_text(row.text())
        self.layouts[row.bundle] = layouts(source, row.options)
        return source, bundle, options

    def kernels(self):
        """Kinds of the kernels of the bundles for correctness, by target."""
        manifests = [mohd.load(path, flags=mohd.Module.DEFER_CPU).manifest for path in sorted(self.folder.glob("correctness/*.mohdb"))]
        names = {f"{target['kind']}:{target['arch']}" for manifest in manifests for target in manifest["targets"]}
        return {name: sorted(correctness.packed_kernels(manifests, name)) for name in sorted(names)}

    def sizes(self):
        """Bytes of the runtime library, and of the bundle of a whole model without its weights."""
        found = {"runtime_bytes": (self.folder / "mohd/libmohd_rt.so").stat().st_size}
        model = self.folder / f"performance/{rows.Decode(rows.TINY if self.quick else rows.PRESET, 1).bundle}.mohdb"
        return found | ({"kernels_bytes": model.stat().st_size} if model.exists() else {})


def pack(folder, parts, quick=False, emulated=False, jobs=2, say=print):
    """Fills the new folder `folder` with some of the parts correctness and performance. `emulated`: for the emulator alone."""
    folder.mkdir(parents=True)
    packer = Packer(folder, quick, emulated, parts)
    packer.code()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(compile_one, *job) for job in packer.jobs()]
        for number, future in enumerate(running):
            future.result()
            say(f"{number + 1}/{len(running)} bundles")
    for source in [*folder.glob("correctness/*.mlir"), *folder.glob("performance/*.mlir")]:
        source.unlink()
    kernels, sizes = packer.kernels(), packer.sizes()
    for bundle in folder.rglob("*.mohdb"):
        bundles.compress(bundle)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    about = {"commit": commit, "date": datetime.date.today().isoformat(), "targets": packer.options, "quick": quick, "parts": list(parts), "layouts": packer.layouts,
             "kernels": kernels, "sizes": sizes}
    (folder / "pack.json").write_text(json.dumps(about, indent=1) + "\n")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ValueError(f"expects a folder of at most {LARGEST} bytes, got {size}")
    return size
