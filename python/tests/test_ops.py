# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operators of PyTorch: against their plain form, forward and backward, and as PyTorch expects operators to be."""

import dataclasses
import itertools
import threading
import warnings

import pytest
import torch

from mohd import ops
from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM, functional
from mohd.nn import compile as compile_model
from mohd.ops import kernels

pytestmark = pytest.mark.xdist_group("ops")  # one process, as the kernels take a minute to compile

ROUTINGS = [
    Routing(8, 3, 2), Routing(8, 8, 0, gate="binary", scaling="none", fusion="none"),
    Routing(7, 0, 3, gate="renormalized", score="softmax_routed", scaling="sqrt_n_over_k", fusion="block_diagonal", balance="switch",
            norm_stat="active"),
    Routing(8, 2, 1, gate="shared_one", score="sigmoid", scaling="k_over_mass", norm_stat="active"),
]
WIDTH, INNER = 5, 24  # of a group; of the projections
TOKENS = (0, 1, 2, 37)
OPERATORS = ("route", "spmm", "sddmm", "group_fusion", "balance_loss", "routed_projections_2", "routed_output", "rms_norm", "swiglu")
SIXTEEN_BITS = (torch.bfloat16, torch.float16)
SIXTEEN_BIT_CALLS = ("routed_projections_2", "routed_output", "group_fusion", "rms_norm", "swiglu")


def name_of(routing):
    """A readable test name."""
    return f"{routing.num_groups}-{routing.num_shared}-{routing.num_routed}-{routing.gate}-{routing.fusion}"


def made(routing, tokens, dtype=torch.float32, seed=0):
    """Tensors for every operation on a routing, by name; floats require gradients."""
    random = torch.Generator().manual_seed(seed)
    n, d = routing.num_groups, routing.num_groups * WIDTH
    normal = lambda *shape: torch.randn(shape, generator=random, dtype=torch.float64)
    shapes = dict(x=(tokens, d), z=(tokens, INNER), residual=(tokens, d), norm=(d,), phi=(n, d), w0=(INNER, d), w1=(9, d), w2=(INNER, d), wo=(d, INNER),
                  right=(n, WIDTH, WIDTH), left=(WIDTH, n, n), bias=(d,), up=(tokens, INNER))
    found = {name: (0.5 * normal(*shape)).to(dtype).requires_grad_() for name, shape in shapes.items()}
    indices, gates, scores = functional.route(found["x"].detach(), found["phi"].detach(), routing)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return found | dict(indices=indices, gates=gates.to(wide).requires_grad_(), scores=scores.to(wide).requires_grad_())


def calls(routing):
    """Each operation as a function of a module of functions and tensors by name; gives its differentiable results."""
    r, n = routing, routing.num_groups
    phi = lambda t: t["phi"] if r.needs_scores else None
    fusion = lambda t: (t["right"] if r.fusion != "none" else None, t["left"] if r.fusion == "monarch" else None)
    floats = lambda values: [value for value in values if value.is_floating_point()]
    found = {
        "route": lambda f, t: floats(f.route(t["x"], phi(t), r)),
        "spmm": lambda f, t: [f.spmm(t["x"], t["indices"], t["gates"], t["w0"], n)],
        "sddmm": lambda f, t: [f.sddmm(t["z"], t["indices"], t["wo"], n)],
        "balance_loss": lambda f, t: [f.balance_loss(t["scores"], t["indices"], r)],
        "rms_norm": lambda f, t: [f.rms_norm(t["x"], t["norm"], 1e-5)],
        "swiglu": lambda f, t: [f.swiglu(t["z"], t["up"])],
        "routed_output": lambda f, t: [f.routed_output(t["residual"], t["z"], t["indices"], t["wo"], *fusion(t), r)],
    }
    for count in (1, 2, 3) if r == ROUTINGS[0] else (2,):
        def projections(f, t, count=count):
            values, *routed = f.routed_projections(t["x"], t["norm"], 1e-5, phi(t), [t["w0"], t["w1"], t["w2"]][:count], r)
            return [*values, *floats(routed)]
        found[f"routed_projections_{count}"] = projections
    if r.fusion == "block_diagonal" or r == ROUTINGS[0]:
        found["group_fusion"] = lambda f, t: [f.group_fusion(t["x"], r.fusion, *fusion(t), indices=t["indices"])]
        found["group_fusion_alone"] = lambda f, t: [f.group_fusion(t["x"], r.fusion, *fusion(t), t["bias"] if r.fusion == "block_diagonal" else None)]
    return found


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Kernels for all of the above, in float32, and some operations with 16 bits."""
    with ops.recording() as specs:
        for routing in ROUTINGS:
            for call in calls(routing).values():
                call(ops, made(routing, 2))
        for name, dtype in itertools.product(SIXTEEN_BIT_CALLS, SIXTEEN_BITS):
            calls(ROUTINGS[0])[name](ops, made(ROUTINGS[0], 2, dtype))
    return ops.compile(specs, tmp_path_factory.mktemp("ops") / "ops.mohdb")


def gradients(call, functions, tensors, seed=1):
    """(results, gradients by name) of a call, for random gradients of the results."""
    results = call(functions, tensors)
    random = torch.Generator().manual_seed(seed)
    used = [t for t in tensors.values() if t.requires_grad]
    given = [torch.randn(result.shape, generator=random, dtype=torch.float64).to(result.dtype) for result in results]
    pairs = [(result, grad) for result, grad in zip(results, given) if result.requires_grad]
    grads = torch.autograd.grad([p[0] for p in pairs], used, [p[1] for p in pairs], allow_unused=True)
    names = [name for name, t in tensors.items() if t.requires_grad]
    return results, {name: grad for name, grad in zip(names, grads) if grad is not None}


def expect_close(actual, expected, dtype=torch.float32):
    """Equal up to rounding, relative to the largest value."""
    limit = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}[dtype]
    expected = expected.to(torch.float64)
    scale = expected.abs().max().item() if expected.numel() else 0.0
    assert actual.shape == expected.shape
    assert (actual.to(torch.float64) - expected).abs().max().item() <= limit * scale + 1e-30 if expected.numel() else True


@pytest.mark.parametrize("routing", ROUTINGS, ids=name_of)
@pytest.mark.parametrize("tokens", TOKENS)
def test_operators_agree_with_their_plain_form(routing, tokens):
    for name, call in calls(routing).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that no kernel was compiled
            results, grads = gradients(call, ops, made(routing, tokens))
        exact, exact_grads = gradients(call, functional, made(routing, tokens, torch.float64))
        for got, want in zip(results, exact, strict=True):
            expect_close(got, want)
        for key, want in exact_grads.items():
            if key in grads or want.abs().sum() > 0:
                expect_close(grads[key], want)


def test_kernels_run_and_their_results_are_the_same_bits_each_time():
    routing, functions = ROUTINGS[0], []
    run = kernels.Function.run
    try:
        kernels.Function.run = lambda self, *rest: functions.append(self.entry.name) or run(self, *rest)
        both = [gradients(calls(routing)["routed_projections_3"], ops, made(routing, 37)) for _ in range(2)]
    finally:
        kernels.Function.run = run
    assert len(functions) == 4 and sum(name.endswith("_backward") for name in functions) == 2
    for first, second in zip(both[0][1].values(), both[1][1].values(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=str)
@pytest.mark.parametrize("name", SIXTEEN_BIT_CALLS)
def test_sixteen_bit_tokens_and_weights(name, dtype):
    """Compiled, and in plain form where a kernel is missing."""
    routing = ROUTINGS[0]
    inputs = made(routing, 37, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results, grads = gradients(calls(routing)[name], ops, inputs)
    with ops.recording():
        plain, plain_grads = gradients(calls(routing)[name], ops, inputs)
    exact, exact_grads = gradients(calls(routing)[name], functional, {key: t.detach().double().requires_grad_() if t.is_floating_point() else t
                                                                      for key, t in inputs.items()})
    for got, again, want in zip(results, plain, exact, strict=True):
        assert got.dtype == again.dtype
        expect_close(got, want, dtype)
        expect_close(again, want, dtype)
    for key, want in exact_grads.items():
        if key not in grads:
            assert want.abs().sum() == 0
            continue
        assert grads[key].dtype == inputs[key].dtype
        for found in (grads, plain_grads):
            expect_close(found[key], want, dtype)


@pytest.mark.parametrize("routing", ROUTINGS[::2], ids=name_of)
def test_deterministic_algorithms_change_nothing(routing):
    """Forward and backward, with PyTorch's flag and without, of one thread and several: the same bits."""
    threads, found = torch.get_num_threads(), []
    try:
        for deterministic, count in ((False, 1), (True, 1), (True, 1), (True, 3), (False, 4)):
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(count)
            tensors = []
            for call in calls(routing).values():
                results, grads = gradients(call, ops, made(routing, 301))
                tensors += [*results, *grads.values()]
            found.append(tensors)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    for again in found[1:]:
        for first, second in zip(found[0], again, strict=True):
            assert torch.equal(first, second)


def test_an_unusual_layout_and_address_is_taken():
    t = made(ROUTINGS[0], 37)
    plain = ops.spmm(t["x"], t["indices"], t["gates"], t["w0"], 8)
    shifted = torch.empty(37 * 40 + 1)[1:].view(37, 40).copy_(t["x"].detach())
    assert shifted.data_ptr() % 64
    turned = t["w0"].detach().t().contiguous().t()
    assert torch.equal(ops.spmm(shifted, t["indices"], t["gates"], turned, 8), plain)
    doubled = torch.stack([t["x"].detach(), t["x"].detach()], 1)[:, 0]
    assert torch.equal(ops.spmm(doubled, t["indices"], t["gates"], t["w0"], 8), plain)


@pytest.mark.parametrize("name", OPERATORS)
def test_gradcheck_in_float64(name):
    routing = dataclasses.replace(ROUTINGS[0], gate="softmax")
    tensors = made(routing, 3, torch.float64)
    names = [key for key, t in tensors.items() if t.requires_grad]
    call = lambda *values: tuple(calls(routing)[name](ops, tensors | dict(zip(names, values))))
    kept = [tensors[key] for key in names]
    used = torch.autograd.grad(sum(value.sum() for value in call(*kept)), kept, allow_unused=True)
    names = [key for key, grad in zip(names, used) if grad is not None]
    assert torch.autograd.gradcheck(call, [tensors[key] for key in names])


def seen_calls(function):
    """(operator, arguments) of each call of an operator of ours while `function` runs."""
    seen = []
    operators = {call for operator in vars(ops).values() if isinstance(operator, ops.Operator) for call in (operator.call, operator.call_backward)}

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            if function in operators:
                seen.append((function, arguments))
            return function(*arguments, **(options or {}))

    with Watch():
        function()
    return seen


@pytest.mark.parametrize("name", (*OPERATORS, "routed_projections_3"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_opcheck(name, dtype):
    """PyTorch's own checks of a schema, a fake kernel, and a gradient under torch.compile's tracing, on the arguments of a real call."""
    (operator, arguments), = seen_calls(lambda: calls(ROUTINGS[0])[name](ops, made(ROUTINGS[0], 5, dtype)))
    fresh = tuple(a.detach().requires_grad_(a.is_floating_point()) if torch.is_tensor(a) else a for a in arguments)
    torch.library.opcheck(operator, fresh)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", (*OPERATORS, "routed_projections_3"))
def test_opcheck_of_gradients(name, turned):
    """The operators that gradients are made by; of weights in another layout, too."""
    tensors = made(ROUTINGS[0], 5)
    if turned:
        tensors = {key: t.detach().mT.contiguous().mT.requires_grad_() if t.dim() > 1 and t.is_floating_point() else t for key, t in tensors.items()}
    _, (operator, arguments) = seen_calls(lambda: gradients(calls(ROUTINGS[0])[name], ops, tensors))
    assert operator.name().endswith("_backward")
    torch.library.opcheck(operator, tuple(a.detach() if torch.is_tensor(a) else a for a in arguments))


def small_config(**changes):
    """A model of two layers."""
    values = dict(hidden_size=40, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, head_dim=4, vocab_size=32,
                  max_position_embeddings=64, mohd=ROUTINGS[0])
    return Config(**values | changes)


@pytest.fixture(scope="module")
def models(compiled):
    """The same model twice: plain and compiled."""
    torch.manual_seed(0)
    plain = MoHDForCausalLM(small_config())
    model = MoHDForCausalLM(small_config())
    model.load_state_dict(plain.state_dict())
    return plain, compile_model(model)


def step(model, tokens, **how):
    """(loss, gradients) of a training step."""
    model.zero_grad()
    logits = model(tokens, **how)
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten()) + model.balance_loss()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def expect_equal_steps(got, want, limit=1e-4):
    """Losses, and the norms of the differences of gradients."""
    assert abs(got[0] - want[0]) <= limit * want[0]
    assert got[1].keys() == want[1].keys()
    for name, grad in want[1].items():
        assert (got[1][name] - grad).norm() <= limit * grad.norm() + 1e-9, name


def test_a_compiled_model_has_the_losses_and_gradients_of_the_plain_one(models):
    tokens = torch.randint(0, 32, (3, 19))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = step(models[1], tokens)
    expect_equal_steps(got, step(models[0], tokens))


def test_activation_checkpointing_and_another_thread_give_the_same(models):
    tokens = torch.randint(0, 32, (2, 11))
    want, found = step(models[1], tokens), []
    models[1].checkpointing = True
    try:
        expect_equal_steps(step(models[1], tokens), want, 1e-6)
    finally:
        models[1].checkpointing = False
    thread = threading.Thread(target=lambda: found.append(step(models[1], tokens)))
    thread.start()
    thread.join()
    expect_equal_steps(found[0], want, 1e-6)


def test_autocast_multiplies_in_its_type(models):
    tokens = torch.randint(0, 32, (2, 11))
    with torch.autocast("cpu", torch.bfloat16):
        compile_model(models[1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = step(models[1], tokens)
        plain = step(models[0], tokens)
    want = step(models[0], tokens)
    expect_equal_steps(got, want, 5e-2)
    assert got[0] != want[0] and abs(got[0] - plain[0]) <= 2e-3 * want[0]


@pytest.mark.parametrize("routing", ROUTINGS[::2], ids=name_of)
def test_autocast_gives_compiled_plain_and_fake_operators_the_same_types(routing, tmp_path):
    """float32 weights: products and fusions are in bfloat16, norms, routers and the residual stream in float32. The plain form runs first, then kernels."""
    every = calls(routing) | {"routed_projections": lambda f, t: [
        *(made := f.routed_projections(t["x"], t["norm"], 1e-5, t["phi"] if routing.needs_scores else None, [t["w0"], t["w1"]], routing))[0], *made[1:]]}
    exact = {name: gradients(call, functional, made(routing, 9, torch.float64)) for name, call in calls(routing).items()}
    with torch.autocast("cpu", torch.bfloat16), ops.recording() as specs:  # in plain form
        plain = {name: call(ops, made(routing, 9)) for name, call in every.items()}
        reference = {name: call(functional, made(routing, 9)) for name, call in every.items()}
        with torch._subclasses.FakeTensorMode() as mode:
            inputs = {key: mode.from_tensor(value) for key, value in made(routing, 9).items()}
            fake = {name: call(ops, inputs) for name, call in every.items()}
    ops.compile(specs, tmp_path / "ops.mohdb")
    for name, call in every.items():
        types = [value.dtype for value in reference[name]]
        assert [value.dtype for value in plain[name]] == [value.dtype for value in fake[name]] == types, name
        with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [value.dtype for value in call(ops, made(routing, 9))] == types, name
            results, grads = gradients(calls(routing).get(name, call), ops, made(routing, 9))
        if name not in exact:
            continue
        for got, again, want in zip(results, plain[name], exact[name][0], strict=True):
            expect_close(got, want, torch.bfloat16)
            expect_close(again, want, torch.bfloat16)
        for key, want in exact[name][1].items():
            if key in grads or want.abs().sum() > 0:
                assert grads[key].dtype == torch.float32
                expect_close(grads[key], want, torch.bfloat16)
    assert {value.dtype for value in plain["spmm"] + plain["sddmm"]} == {torch.bfloat16}
    assert {value.dtype for value in plain["routed_output"] + plain["rms_norm"]} == {torch.float32}


def test_autocast_keeps_rounded_tokens_once():
    t, kept = made(ROUTINGS[0], 11), {}
    with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        result = ops.routed_projections(t["x"], t["norm"], 1e-5, t["phi"], [t["w0"], t["w1"], t["w2"]], ROUTINGS[0])
    assert result and sum(value.dtype == torch.bfloat16 and value.shape == (11, 40) for value in kept.values()) == 1


def test_torch_compile_makes_one_graph_under_autocast(models):
    tokens = torch.randint(0, 32, (2, 11))
    with torch.autocast("cpu", torch.bfloat16):
        graph = torch.compile(models[1], fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(graph(tokens), models[1](tokens), rtol=1e-2, atol=1e-2)


def test_torch_compile_makes_one_graph(models):
    tokens = torch.randint(0, 32, (2, 11))
    graph = torch.compile(models[1], fullgraph=True, backend="aot_eager")
    want = step(models[1], tokens)
    models[1].zero_grad()
    logits = graph(tokens)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    got = {name: p.grad.clone() for name, p in models[1].named_parameters()}
    models[1].zero_grad()
    torch.nn.functional.cross_entropy(models[1](tokens).flatten(0, 1), tokens.flatten()).backward()
    assert torch.isfinite(want[0])
    for name, p in models[1].named_parameters():
        torch.testing.assert_close(got[name], p.grad, rtol=1e-5, atol=1e-7)


def test_sizes_that_were_not_compiled_run_in_plain_form_and_say_so_once():
    t = made(Routing(6, 1, 2), 4)
    with pytest.warns(UserWarning, match="no kernel was compiled for Spec"):
        got = gradients(calls(Routing(6, 1, 2))["spmm"], ops, t)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(calls(Routing(6, 1, 2))["spmm"], ops, t)
    want = gradients(calls(Routing(6, 1, 2))["spmm"], functional, t)
    for first, second in itertools.chain(zip(got[0], want[0]), zip(got[1].values(), want[1].values())):
        torch.testing.assert_close(first, second)


def test_compile_refuses_a_model_without_operations():
    with pytest.raises(ValueError, match="expects a model that calls operations of mohd.ops, got none"):
        compile_model(torch.nn.Linear(3, 3), sample=lambda: None)


@pytest.mark.parametrize("call,message", [
    (lambda t: ops.spmm(t["x"], t["indices"], t["gates"], t["wo"], 8), "mohd::spmm expects weight"),
    (lambda t: ops.spmm(t["x"], t["indices"], t["gates"], t["w0"], 7), "expects a width that is a multiple of 7 groups, got 40"),
    (lambda t: ops.spmm(t["x"], t["indices"], t["gates"][:3], t["w0"], 8), "expects 'gates' to have 4 tokens, got 3"),
    (lambda t: ops.spmm(t["x"], t["indices"], t["gates"][:, :2], t["w0"], 8), "mohd::spmm expects gates"),
    (lambda t: ops.sddmm(t["z"], t["indices"], t["w0"], 8), "mohd::sddmm expects weight"),
    (lambda t: ops.group_fusion(t["x"], "monarch", t["right"]), "expects right for kinds other than none, and left for monarch"),
    (lambda t: ops.group_fusion(t["x"], "block_diagonal", t["right"][:3]), "expects right .N, d_e, d_e."),
    (lambda t: ops.group_fusion(t["x"], "monarch", t["right"], t["right"]), "expects left"),
    (lambda t: ops.group_fusion(t["x"], "block_diagonal", t["right"], bias=t["norm"][:3]), "expects bias"),
    (lambda t: ops.route(t["x"], t["phi"][:3], ROUTINGS[0]), "mohd::route expects centroids"),
    (lambda t: ops.route(t["x"], None, ROUTINGS[0]), "expects centroids, as the routing depends on scores"),
    (lambda t: ops.rms_norm(t["x"], t["norm"][:3], 1e-5), "expects weight"),
    (lambda t: ops.routed_projections(t["x"], t["norm"][:3], 1e-5, t["phi"], [t["w0"]], ROUTINGS[0]), "expects norm_weight"),
    (lambda t: ops.routed_projections(t["x"], t["norm"], 1e-5, t["phi"], [t["wo"]], ROUTINGS[0]), "expects weights"),
    (lambda t: ops.routed_projections(t["x"], t["norm"], 1e-5, t["phi"], [], ROUTINGS[0]), "expects 1 to 3 weights, got 0"),
    (lambda t: ops.routed_output(t["residual"][:, :3], t["z"], t["indices"], t["wo"], t["right"], t["left"], ROUTINGS[0]), "expects residual"),
])
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        call(made(ROUTINGS[0], 4))


def test_indices_out_of_range_are_refused():
    t = made(ROUTINGS[0], 4)
    with pytest.raises(Exception, match="indices"):
        ops.spmm(t["x"], t["indices"] + 4, t["gates"], t["w0"], 8)
