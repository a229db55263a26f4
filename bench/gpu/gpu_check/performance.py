# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the compiled ops beside their peers on a GPU: random data made here from seeds, checked in float64 before anything is timed."""

import json
import math

import torch

from gpu_check import bundles, peers, rows, timing

CHECKED = 6
"""Tokens whose results are compared with float64."""
LIMIT, PEER_LIMIT = 5e-3, 2e-2
SECONDS = 4.0
"""What the samples of a row may take, beyond the fewest."""
CACHED = 512
"""Tokens in the cache of a row of decode, which has room for twice as many."""
TORCH = {"bf16": torch.bfloat16, "f32": torch.float32, "f16": torch.float16, "i32": torch.int32}


class Data:
    """Input, routing and weight of a row, drawn from its seed."""

    def __init__(self, row, device):
        self.row, self.device = row, device
        self.generator = torch.Generator(device).manual_seed(1)
        self.indices, self.gates = self.routing(), torch.rand(row.tokens, row.active, generator=self.generator, device=device) + 0.5
        self.union = len(torch.unique(self.indices))

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, device=self.device, dtype=torch.bfloat16)

    def routing(self):
        """Active sets [T, K], ascending, i32."""
        n, shared, routed = self.row.groups
        others, tokens = n - shared, self.row.tokens
        if routed == 0:
            chosen = torch.empty(tokens, 0, device=self.device, dtype=torch.int64)
        elif self.row.routing == "disjoint":
            chosen = (torch.arange(tokens, device=self.device)[:, None] * routed + torch.arange(routed, device=self.device)) % others
        else:
            popularity = 1 / torch.arange(1, others + 1, device=self.device) if self.row.routing == "zipf" else torch.ones(others, device=self.device)
            drawn = torch.rand(1 if self.row.routing == "identical" else tokens, others, generator=self.generator, device=self.device)
            chosen = (drawn.clamp_min(1e-30).log() / popularity).argsort(-1, descending=True)[:, :routed].expand(tokens, routed)
        prefix = torch.arange(shared, device=self.device).expand(tokens, shared)
        return torch.cat([prefix, chosen.sort(-1).values + shared], 1).to(torch.int32).contiguous()

    def dense(self, w):
        """The weight [columns of the input, columns of the result]."""
        if self.row.op == "sddmm":
            return w.permute(1, 0, 2).reshape(self.row.inner, self.row.width)
        return w.reshape(self.row.width, self.row.inner)

    def checked(self):
        return torch.linspace(0, self.row.tokens - 1, min(CHECKED, self.row.tokens)).long().unique()

    def expected(self, x, w):
        """The exact rows of `checked`, of the routed product and of the dense one."""
        row, d, found = self.row, self.row.group_width, []
        for token in self.checked().tolist():
            given, out = x[token].double(), torch.zeros(row.sides[1], device=self.device, dtype=torch.float64)
            for slot, group in enumerate(self.indices[token].tolist() if row.op != "linear" else []):
                if row.op == "spmm":
                    out += self.gates[token, slot].double() * (given[group * d: (group + 1) * d] @ w[group].double())
                else:
                    out[group * d: (group + 1) * d] = given @ w[group].double()
            found.append(out)
        dense = x[self.checked().to(x.device)].double() @ self.dense(w).double()
        return (dense if row.op == "linear" else torch.stack(found)), dense

    def error(self, result, expected):
        """Relative error (Frobenius) of the checked rows of a result."""
        found = result[self.checked().to(result.device)].double()
        return float((found - expected).norm() / expected.norm())


def for_library(tensor):
    """A tensor as the library takes it: on a GPU as it is, on the host as NumPy."""
    if tensor.is_cuda:
        return tensor
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


class Bench:
    """Measures rows by name. The limits of the machine are measured when it is made."""

    def __init__(self, folder, device, quick, with_peers=True):
        self.folder, self.device, self.with_peers = folder, device, with_peers
        self.rows = {row.name: row for row in rows.every(quick)}
        self.layouts = json.loads((folder / "pack.json").read_text())["layouts"]
        self.clock = timing.Clock(device)
        with torch.inference_mode():
            self.limits = timing.limits(self.clock, quick)
        self.limits |= {"torch": torch.__version__, "cuda": torch.version.cuda, "triton": _triton_version(), "l2_bytes": self.clock.l2_bytes}
        if self.clock.is_cuda:
            self.limits |= {"gpu": torch.cuda.get_device_name(self.clock.device)}

    def measure(self, name):
        row = self.rows[name]
        with torch.inference_mode():
            measure = {"decode": self.decode, "route": self.around, "fusion": self.around}.get(row.op, self.product)
            try:
                return measure(row)
            finally:
                if self.clock.is_cuda:
                    torch.cuda.empty_cache()

    def context(self, row):
        module = bundles.load(self.folder / f"performance/{row.bundle}.mohdb")
        return module.context(device=self.device)

    def bind(self, context, entry, inputs, outputs):
        """A call in the clock's stream."""
        given, taken = ({name: for_library(tensor) for name, tensor in part.items()} for part in (inputs, outputs))
        return context.bind(entry, given, taken, self.clock.stream)

    def repeat(self, calls, outputs):
        """Runs the first and the last call on poisoned results; raises unless they agree bit by bit. Returns the first result."""
        results = []
        for call, output in ((calls[0], outputs[0]), (calls[-1], outputs[-1])):
            output.fill_(float("nan") if output.is_floating_point() else -1)
            self.clock.wait()
            call()
            self.clock.wait()
            results.append(output.clone())
        raw = [result.view(torch.uint8) for result in results]
        if not torch.equal(*raw):
            raise AssertionError("two runs differ")
        return results[0]

    def product(self, row):
        """A row of linear, spmm or sddmm."""
        data = Data(row, self.clock.device)
        w = data.normal(*row.weight_shape)
        tensors = (data.normal(row.tokens, row.sides[0]), torch.empty(row.tokens, row.sides[1], device=self.clock.device, dtype=torch.bfloat16))
        moved = row.weight_bytes(data.union) + sum(2 * tensor.numel() for tensor in tensors)
        count = self.clock.copies(moved, 8 * row.weight_bytes(row.groups[0]))
        xs, ys = ([tensor] + [tensor.clone() for _ in range(count - 1)] for tensor in tensors)
        (_, expanded, permutation), context = self.layouts[row.bundle][0], self.context(row)
        shape = context.module.entry_points["main"].inputs[-1].shape
        packed = (w.reshape(expanded) if expanded else w).permute(permutation or tuple(range(len(shape)))).contiguous().view(shape)
        calls = []
        for x, y, p in zip(xs, ys, [packed] + [packed.clone() for _ in range(count - 1)]):
            inputs = {"x": x, "w": p} | ({} if row.op == "linear" else {"indices": data.indices, "gates": data.gates})
            calls.append(self.bind(context, "main", inputs, {"y": y}))
        expected, dense = data.expected(xs[0], w)
        error = data.error(self.repeat(calls, ys), expected)
        if not error <= LIMIT:
            raise AssertionError(f"relative error {error:.3g}, at most {LIMIT:.3g}")
        variants, errors = {"mohd": calls}, {"mohd": error}
        notes, is_dense = self.peers(data, w, xs, (expected, dense), variants, errors) if self.with_peers else ({}, {})
        found = self.clock.measure(variants, SECONDS)
        for name, variant in found.items():
            variant |= {"relative_error": errors[name], "dense": is_dense.get(name, row.op == "linear")}
        return self.result(row, found, notes, row.flops, moved, {"union": data.union, "coverage": row.active / data.union})

    def peers(self, data, w, xs, expected, variants, errors):
        """Adds the peers that work to `variants`; returns what is wrong with the others, and which are dense."""
        notes, dense, forms = {}, {}, {}
        lists = peers.Lists(data) if data.row.op != "linear" else None
        for name, (form, is_dense, function) in peers.variants(data).items():
            try:
                if form not in forms:
                    first = peers.FORMS[form](data, w)
                    forms[form] = [first] + [first.clone(memory_format=torch.preserve_format) for _ in xs[1:]]
                calls = [lambda x=x, v=v, f=function: f(data, lists, x, v) for x, v in zip(xs, forms[form])]
                error = data.error(calls[0](), expected[1 if is_dense else 0])
                self.clock.wait()
                if not error <= PEER_LIMIT:
                    raise AssertionError(f"relative error {error:.3g}")
                variants[name], errors[name], dense[name] = calls, error, is_dense
            except Exception as problem:
                notes[name] = f"{type(problem).__name__}: {problem}"[:500]
        return notes, dense

    def around(self, row):
        """A row of route or fusion: time against the bytes of its tokens."""
        data, context = Data(row, self.clock.device), self.context(row)
        info = context.module.entry_points["main"]
        made = {"indices": data.indices, "gates": data.gates, "x": data.normal(row.tokens, row.width)}
        made["x"] = made["x"].float() if row.op == "route" else made["x"]
        inputs = {tensor.name: made[tensor.name] if tensor.name in made else data.normal(*tensor.shape) / 16 for tensor in info.inputs}
        sizes = {tensor.name: (row.tokens, *tensor.shape[1:]) for tensor in info.outputs}
        moved = sum(math.prod(size) * TORCH[t.dtype].itemsize for t, size in zip(info.outputs, sizes.values()))
        moved += sum(tensor.numel() * tensor.element_size() for tensor in inputs.values())
        calls, results = [], []
        for _ in range(self.clock.copies(moved, 2 * moved)):
            given = {name: tensor.clone() for name, tensor in inputs.items()}
            outputs = {t.name: torch.empty(sizes[t.name], device=self.clock.device, dtype=TORCH[t.dtype]) for t in info.outputs}
            calls.append(self.bind(context, "main", given, outputs))
            results.append(outputs["y"])
        found = self.repeat(calls, results)
        if row.op == "fusion" and not torch.isfinite(found).all():
            raise AssertionError("the result is not finite")
        variants, x = {"mohd": calls}, inputs["x"]
        if row.op == "route":
            phi = next(tensor for name, tensor in inputs.items() if name != "x").float()
            variants["torch mm, softmax, topk"] = [lambda: torch.topk(torch.softmax(x @ phi.t(), -1)[:, row.groups[1]:], row.groups[2])]
        else:
            right, left = (tensor for name, tensor in inputs.items() if name not in made)
            variants["torch bmm, bmm"] = [lambda: monarch(x, right, left)]
        return self.result(row, self.clock.measure(variants if self.with_peers else {"mohd": calls}, SECONDS), {}, 0, moved, {})

    def decode(self, row):
        """A row of decode: a step of a whole model of random weights for each of `tokens` sequences."""
        context, generator = self.context(row), torch.Generator(self.clock.device).manual_seed(1)
        info, inputs, moved = context.module.entry_points["decode"], {}, 0
        for tensor in info.inputs:
            shape = [{"T": row.tokens, "S": 2 * CACHED}.get(size, size) for size in tensor.shape]
            if tensor.dtype == "i32":
                inputs[tensor.name] = torch.full(shape, CACHED if tensor.name == "position" else 1, device=self.clock.device, dtype=torch.int32)
                continue
            made = torch.randn(*shape, generator=generator, device=self.clock.device, dtype=TORCH[tensor.dtype])
            if "norm" in tensor.name:
                made.fill_(1.0)
            elif tensor.mutable:
                moved += made.numel() * made.element_size() // 2  # the tokens that are there
            else:
                made *= shape[-1] ** -0.5
                share = (row.active / row.groups[0] if len(shape) == 3 and row.tokens == 1 else 1.0) * (0 if "embed" in tensor.name else 1)
                moved += int(made.numel() * made.element_size() * share)
            inputs[tensor.name] = made
        out = torch.empty(row.tokens, info.outputs[0].shape[1], device=self.clock.device, dtype=TORCH[info.outputs[0].dtype])
        call = self.bind(context, "decode", inputs, {info.outputs[0].name: out})
        if not torch.isfinite(self.repeat([call], [out])).all():
            raise AssertionError("the logits are not finite")
        variants, notes = {"mohd": [call]}, {}
        if self.with_peers:
            try:
                variants["torch.mm of the dense products alone"] = [dense_products(inputs, row.tokens)]
            except Exception as problem:
                notes["torch.mm of the dense products alone"] = str(problem)[:500]
        layers = 1 + max(int(name.split(".")[2]) for name in inputs if name.startswith("model.layers."))
        return self.result(row, self.clock.measure(variants, SECONDS), notes, 0, moved, {"layers": layers})

    def result(self, row, found, notes, flops, moved, more):
        """JSON of a row: for each variant its samples, its rates and its share of the floor."""
        notes |= {name: variant["error"] for name, variant in found.items() if "error" in variant}
        found = {name: variant for name, variant in found.items() if "error" not in variant}
        if "mohd" not in found:
            raise AssertionError(notes["mohd"])
        floor = max(flops / self.limits["mm"]["rate"], moved / self.limits["copy"]["rate"])
        for variant in found.values():
            variant |= timing.quantiles(variant["samples_s"])
            time = variant["median_s"]
            variant |= {"share_of_floor": floor / time, "flops_per_s": flops / time, "bytes_per_s": moved / time}
        ours, peer = found["mohd"]["median_s"], {name: v["median_s"] for name, v in found.items() if name != "mohd"}
        summary = f"{ours * 1e6:.1f} us, {floor / ours:.2f} of the floor"
        dense = [v["median_s"] for name, v in found.items() if name != "mohd" and v.get("dense")]
        if dense and flops:
            more["over_dense"] = min(dense) / ours
            more["useful_rate_over_dense"] = min(dense) / ours * row.active / row.groups[0]
            summary += f", {more['over_dense']:.2f}x the best dense peer, {more['useful_rate_over_dense']:.2f} of its rate"
        if peer:
            best = min(peer, key=peer.get)
            summary += f"; best peer {best} {peer[best] * 1e6:.1f} us"
        return {"ok": True, "op": row.op, "D": row.width, "E": row.inner, "groups": list(row.groups), "tokens": row.tokens, "routing": row.routing,
                "flops": flops, "bytes": moved, "floor_s": floor, **more, "variants": found, "notes": notes, "summary": summary}


def monarch(x, right, left):
    """Monarch fusion of [T, N * d] as two bmm; right [k, q, p], left [l, s, r]."""
    k, q, p = right.shape
    u = torch.bmm(x.view(len(x), k, p).transpose(0, 1), right.transpose(1, 2)).transpose(0, 1).reshape(len(x), k * q)
    v = u.view(len(x), left.shape[2], left.shape[0]).permute(2, 0, 1)
    return torch.bmm(v, left.transpose(1, 2)).permute(1, 2, 0).reshape(len(x), -1)


def dense_products(inputs, tokens):
    """A call of torch.mm for every projection of the model as if it were dense, on the same weights."""
    weights = []
    for name, tensor in inputs.items():
        if name.endswith("proj.weight"):
            is_output = "down_proj" in name or "o_proj" in name  # [N, d_e, depth], else [columns, N, d_e]
            weights.append(tensor.view(-1, tensor.shape[-1]) if is_output else tensor.view(tensor.shape[0], -1))
        elif "lm_head" in name:
            weights.append(tensor.view(tensor.shape[0], -1))
    given = {w.shape[1]: torch.randn(tokens, w.shape[1], device=w.device, dtype=w.dtype) for w in weights}

    def call():
        for w in weights:
            torch.mm(given[w.shape[1]], w.t())

    return call


def _triton_version():
    try:
        import triton

        return triton.__version__
    except Exception as problem:
        return f"none: {problem}"[:200]
