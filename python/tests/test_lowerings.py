# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Both lowerings, compiled and run, against the NumPy reference: the matrix of `mohd.testing`, and that it can fail."""

import json

import numpy as np
import pytest

from mohd import testing
from mohd.testing import arrays, cases_blocks, cases_routing, entry

GROUPS = testing.groups()


@pytest.fixture(scope="module", params=["reference", "fast", "emulate:sm_80", "emulate:sm_90a"])
def lowering(request):
    return request.param


CHECKED = set()
"""The code of groups that agreed: where no kernel is made of products, that for two GPUs is the same."""


def code_of(module):
    """What a bundle of one target does: kernels, their launches, machine code."""
    (target,) = module.manifest["targets"]
    return json.dumps([target["kind"], target["kernels"], target["programs"], module.manifest["segments"][target["segment"]]["sha256"]])


@pytest.mark.parametrize("group", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in GROUPS])
def test_agrees_with_numpy(group, lowering, tmp_path):
    module = testing.build(GROUPS[group], tmp_path, lowering)
    code = code_of(module)
    if code in CHECKED:
        return
    contexts = testing.contexts(module, lowering)
    problems = []
    for case in GROUPS[group]:
        try:
            testing.check(contexts, case, rounds=lowering.startswith("emulate"))
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, f"{len(problems)} of {len(GROUPS[group])} entry points:\n\n" + "\n".join(problems[:5])
    CHECKED.add(code)


def test_magnitude_table(lowering, tmp_path):
    cases = [cases_blocks.magnitude(gate, scaling) for gate, scaling, _ in cases_blocks.MAGNITUDES]
    context = testing.contexts(testing.build(cases, tmp_path, lowering), lowering)[0]
    for case, (gate, scaling, expected) in zip(cases, cases_blocks.MAGNITUDES):
        testing.check([context], case)
        (_, inputs, exact), = case.references
        found = entry.run(context, case, inputs, exact)
        routed, full = (np.sqrt(np.mean(np.square(found[name], dtype=np.float64))) for name in ("routed", "full"))
        assert routed / full == pytest.approx(expected, rel=0.03), (gate, scaling)


def test_routing_does_not_depend_on_neighbours(tmp_path):
    cases = [cases_routing.route(shape, "softmax", "softmax_all") for shape in ((16, 6, 2, 20), (37, 3, 9, 3))]
    context = testing.build(cases, tmp_path).context()
    for case in cases:
        rng = np.random.default_rng(7)
        made = {name: arrays.normal(rng, values.shape) for name, values in case.inputs(7, rng).items()}
        together = entry.run(context, case, made, dict(zip(case.results, case.expected(**made))))
        for token in range(7):
            single = {**made, "n": made["n"][token : token + 1]}
            alone = entry.run(context, case, single, dict(zip(case.results, case.expected(**single))))
            for name, values in together.items():
                assert values[token : token + 1].tobytes() == alone[name].tobytes(), (case.name, token, name)


def test_every_op_of_the_dialect_is_covered():
    text = "".join(testing.module_text(cases) for cases in GROUPS.values())
    for op in ("route", "make_routing", "unpack_routing", "gate", "scale", "spmm", "sddmm", "dequantize", "group_fusion", "balance_loss", "embed",
               "rms_norm", "linear", "add", "silu", "swiglu", "rope", "kv_cache_append", "attention", "sample", "permute_weight",
               "weight_gradient", "unit_gates", "gather_groups", "scatter_groups", "gate_gradient", "scale_gradient", "route_gradient", "balance_loss_gradient", "rms_norm_gradient",
               "column_sums", "copy", "silu_gradient", "swiglu_gradient", "fusion_mix", "fusion_mix_gradient", "embed_gradient", "zero_cache",
               "kv_cache_append_gradient", "attention_gradient", "attention_cache_gradient"):
        assert f"mohd.{op} " in text, op


@pytest.mark.parametrize("actual,expected,found", [
    ([1.0, 2.0], [1.0, 2.0], None),
    ([1.0, 2.0 + 1e-6], [1.0, 2.0], None),
    ([1.0, 2.0 + 1e-4], [1.0, 2.0], "at [1]"),
    ([np.nan, 2.0], [np.nan, 2.0], None),
    ([np.nan, 2.0], [1.0, 2.0], "at [0]"),
    ([1.0, 2.0], [np.nan, 2.0], "at [0]"),
    ([np.inf, 2.0], [np.inf, 2.0], None),
    ([-np.inf, 2.0], [np.inf, 2.0], "at [0]"),
    ([3e38, 2.0], [np.inf, 2.0], "at [0]"),
    ([1.0], [1.0, 2.0], "shape"),
])
def test_comparison_finds_what_is_wrong(actual, expected, found):
    problem = arrays.compare(np.array(actual), np.array(expected), "f32", 8)
    assert problem is None if found is None else found in problem


def test_allowed_error_is_one_neighbour_of_the_storage_type():
    one = np.array([1.0])
    assert arrays.compare(one + 2.0**-7, one, "bf16", 0) is None
    assert arrays.compare(one + 2.0**-6, one, "bf16", 0) is not None
    assert arrays.compare(one + 2.0**-10, one, "f16", 0) is None
    assert arrays.compare(one + 2.0**-9, one, "f16", 0) is not None
    assert arrays.compare(np.array([3]), np.array([4]), "i32", 100) is not None


class Context:
    """Stands for a compiled module whose kernel does what `kernel` does."""

    def __init__(self, kernel):
        self.kernel = kernel

    def run(self, name, inputs, outputs):
        self.kernel(inputs["x"], inputs["z"], outputs["y"])


def good(x, z, y):
    y[...] = x + z


def forgets_a_row(x, z, y):
    y[:-1] = x[:-1] + z[:-1]


def writes_behind(x, z, y):
    y[...] = x + z
    if y.size:
        np.lib.stride_tricks.as_strided(y, (y.shape[0] + 1, y.shape[1]), y.strides)[-1, 0] = 0


@pytest.mark.parametrize("kernel,message", [(forgets_a_row, "disagrees"), (writes_behind, "wrote outside of y")])
def test_check_finds_a_wrong_kernel(kernel, message):
    case = next(case for case in GROUPS["dense"] if case.name == "add_37_f32")
    testing.check([Context(good), Context(good)], case)
    with pytest.raises(AssertionError, match=message):
        testing.check([Context(kernel)], case)
    with pytest.raises(AssertionError, match="order of threads"):
        testing.check([Context(good), Context(forgets_a_row)], case)
