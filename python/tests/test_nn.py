# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The PyTorch model in float64: against the NumPy model over the matrix of attributes, and its gradients (rule 2)."""

import copy
import os
import sys

import numpy as np
import pytest
import torch

from cases import SIZES, config_of, random_weights, routings
from mohd import reference, weights as files
from mohd.files import replace_file
from mohd.config import VALUES, Config, Routing
from mohd.nn import MoHDAttention, MoHDConfig, MoHDForCausalLM, MoHDMLP, functional, modules
from mohd.reference_model import Model


def models_of(config, seed=0):
    """(NumPy model, PyTorch model in float64) of the same random weights."""
    weights = random_weights(config, seed)
    model = MoHDForCausalLM(config).double()
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return Model(config, weights), model


def name_of(routing):
    """A readable test name."""
    values = [str(getattr(routing, name)) for name in ("num_groups", "num_shared", "num_routed", *VALUES)]
    return "-".join(values)


def expect_equal_models(config):
    """Both models give the same logits and balance loss for two sequences of 9 tokens."""
    reference, model = models_of(config)
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 9))
    place = np.arange(18)
    expected = reference.prefill(tokens.reshape(-1), place // 9, place % 9, place, *reference.new_caches(2, 9))
    got = model(torch.tensor(tokens)).detach().numpy().reshape(18, -1)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.balance_loss().item(), sum(reference.balance), rtol=1e-9)


@pytest.mark.parametrize("routing", list(routings()), ids=name_of)
def test_torch_agrees_with_numpy(routing):
    expect_equal_models(config_of(routing))


@pytest.mark.parametrize("changes", [
    dict(), dict(tie_word_embeddings=True), dict(num_key_value_heads=1), dict(rope_theta=50.0, rms_norm_eps=0.1),
], ids=str)
def test_torch_agrees_with_numpy_dense_and_llama_keys(changes):
    expect_equal_models(config_of(None, **changes))
    expect_equal_models(config_of(Routing(16, 6, 2), **changes))


def test_state_dict_has_the_tensors_of_the_format():
    for routing in [None, *routings()]:
        config = config_of(routing)
        shapes = {name: tuple(t.shape) for name, t in MoHDForCausalLM(config).state_dict().items()}
        assert shapes == config.tensor_shapes()


def test_numpy_prefill_in_parts_and_decode_agree_with_one_prefill():
    config = config_of(Routing(16, 6, 2))
    model, _ = models_of(config)
    tokens = np.random.default_rng(2).integers(0, 29, (3, 8))
    place = np.arange(24)
    whole = model.prefill(tokens.reshape(-1), place // 8, place % 8, place, *model.new_caches(3, 8)).reshape(3, 8, -1)
    caches, first = model.new_caches(3, 8), np.arange(12)
    part = model.prefill(tokens[:, :4].reshape(-1), first // 4, first % 4, first[3::4], *caches)
    np.testing.assert_allclose(part, whole[:, 3], rtol=1e-10)
    for step in range(4, 8):
        np.testing.assert_allclose(model.decode(tokens[:, step], [step] * 3, *caches), whole[:, step], rtol=1e-10)


def test_torch_cache_agrees_with_one_forward():
    _, model = models_of(config_of(Routing(16, 6, 2)))
    tokens = torch.randint(29, (2, 9), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache()
    parts = [model(tokens[:, a:b], cache) for a, b in ((0, 4), (4, 5), (5, 9))]
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens))


@pytest.mark.parametrize("routing", list(routings()), ids=name_of)
def test_rule_2_gradients_agree_with_finite_differences(routing):
    """Along one random direction of all the weights, at a point where no token changes its active set."""
    config = config_of(routing, num_hidden_layers=1)
    _, model = models_of(config, seed=3)
    tokens = torch.randint(29, (2, 6), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    weights = list(model.parameters())
    direction = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]
    project = torch.randn(2, 6, 29, generator=generator, dtype=torch.float64)

    def loss():
        return (model(tokens) * project).sum() + 100 * model.balance_loss()

    loss().backward()
    slope = sum((w.grad * d).sum().item() for w, d in zip(weights, direction) if w.grad is not None)
    values, step = [], 1e-6
    with torch.no_grad():
        for sign in (1, -2):
            for w, d in zip(weights, direction):
                w += sign * step * d
            values.append(loss().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


def test_gate_gradient_reaches_the_router():
    for gate in VALUES["gate"]:
        _, model = models_of(config_of(Routing(16, 6, 2, gate=gate, balance="none")))
        model(torch.arange(8)[None]).sum().backward()
        grad = model.model.layers[0].mlp.router.weight.grad
        assert (grad is not None and grad.abs().sum() > 0) == (gate != "binary")


def test_select_of_torch_agrees_with_numpy_on_ties_and_nan():
    logits = np.random.default_rng(4).integers(-2, 3, (200, 9)).astype(float)
    logits[::7, 3], logits[1::7, 0], logits[2::7, 5] = np.nan, np.inf, -np.inf
    indices = functional.select(torch.tensor(logits), Routing(9, 2, 3))
    assert indices.dtype == torch.int32
    assert indices.tolist() == reference.select(logits, 2, 3).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saved_model_is_read_back(tmp_path, dtype):
    config = config_of(Routing(16, 6, 2, gate="binary"), tie_word_embeddings=True)
    _, model = models_of(config)
    model.save_pretrained(tmp_path, dtype)
    assert Config.load(tmp_path) == Config.from_dict(config.to_dict() | {"torch_dtype": str(dtype)[6:]})
    for name, array in files.load(tmp_path).items():
        np.testing.assert_array_equal(array, model.state_dict()[name].to(dtype).float().numpy())
    tokens = torch.arange(9)[None]
    torch.testing.assert_close(MoHDForCausalLM.from_pretrained(tmp_path)(tokens), model(tokens).float(), rtol=0.1, atol=0.1)


def test_a_half_written_model_leaves_the_old_one(tmp_path, monkeypatch):
    old, new = (models_of(config_of(Routing(16, 6, 2)), seed)[1] for seed in (0, 1))
    old.save_pretrained(tmp_path, torch.float32)
    before = (tmp_path / "model.safetensors").read_bytes()

    def fail(path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        replace_file(tmp_path / "model.safetensors", fail)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        new.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_over_shards_leaves_no_list_of_shards(tmp_path):
    (tmp_path / files.INDEX).write_text('{"weight_map": {"a": "gone.safetensors"}}')
    models_of(config_of(None))[1].save_pretrained(tmp_path)
    MoHDForCausalLM.from_pretrained(tmp_path)


def test_sixteen_bit_and_autocast_agree_with_float32(tmp_path, monkeypatch):
    """16-bit weights, and autocast, change the logits by rounding only; router, gates and norm stay float32."""
    _, model = models_of(config_of(Routing(16, 6, 10)))  # all groups are active: rounding chooses no others
    model.float().save_pretrained(tmp_path)
    tokens = torch.randint(29, (2, 9), generator=torch.Generator().manual_seed(5))
    exact, half = (MoHDForCausalLM.from_pretrained(tmp_path, dtype) for dtype in (torch.float32, torch.bfloat16))
    expected, seen, inner = exact(tokens), [], functional.route

    def route(normed, centroids, routing):
        seen.append((normed, *inner(normed, centroids, routing)))
        return seen[-1][1:]

    monkeypatch.setattr(functional, "route", route)
    got = half(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        casted = exact(tokens)
    assert got.dtype == casted.dtype == torch.bfloat16
    assert len(seen) == 8
    for normed, _, gates, scores in seen:
        assert normed.dtype == gates.dtype == scores.dtype == torch.float32
    for other in (got, casted):
        assert (other - expected).norm() <= 0.04 * expected.norm()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_token_stays_in_its_row(value):
    """In the outputs and in the gradients of the inputs."""
    torch.manual_seed(0)
    routing = Routing(8, 2, 2)
    x = torch.randn(5, 16, dtype=torch.float64)
    x[2, 3] = value
    x.requires_grad_()
    norm, centroids, weight = torch.ones(16).double(), torch.randn(8, 16).double(), torch.randn(6, 16).double()
    (y,), indices, gates, scores = functional.routed_projections(x, norm, 1e-5, centroids, [weight], routing)
    out = functional.routed_output(x, y, indices, weight.T, torch.randn(8, 2, 2).double(), torch.randn(2, 8, 8).double(), routing)
    out.sum().backward()
    others = [0, 1, 3, 4]
    for tensor in (y, gates, scores, out, x.grad):
        assert tensor[others].isfinite().all()
    assert not out[2].isfinite().all()
    if np.isnan(value):
        assert indices[2].tolist() == [0, 1, 2, 3]


def test_parts_of_the_interface_agree_with_the_fused_ones():
    torch.manual_seed(1)
    routing, e = Routing(8, 2, 2, fusion="block_diagonal"), 6
    x, norm, centroids = torch.randn(5, 16), torch.rand(16), torch.randn(8, 16)
    weights, back, right = [torch.randn(e, 16), torch.randn(4, 16)], torch.randn(16, e), torch.randn(8, 2, 2)
    y, indices, gates, scores = functional.routed_projections(x, norm, 1e-5, centroids, weights, routing)
    normed = functional.rms_norm(x, norm, 1e-5)
    for got, want in zip((indices, gates, scores), functional.route(normed, centroids, routing)):
        torch.testing.assert_close(got, want)
    for got, weight in zip(y, weights):
        torch.testing.assert_close(got, functional.spmm(normed, indices, gates, weight, 8))
    o = functional.sddmm(y[0], indices, back, 8)
    assert (o == 0).sum() == 5 * 8
    torch.testing.assert_close(functional.routed_output(x, y[0], indices, back, right, None, routing),
                               x + functional.group_fusion(o, "block_diagonal", right))
    # inactive groups count as 0 where indices say which are active
    full = torch.randn(5, 16)
    masked = torch.where(functional.active_mask(indices, 8, 2), full, 0.0)
    torch.testing.assert_close(functional.group_fusion(full, "block_diagonal", right, indices=indices),
                               functional.group_fusion(masked, "block_diagonal", right))
    assert functional.group_fusion(full, "none") is full


def test_no_tokens():
    _, model = models_of(config_of(Routing(16, 6, 2)))
    assert model(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 29)
    assert model.balance_loss() == 0


def test_activation_checkpointing_changes_no_gradient():
    _, model = models_of(config_of(Routing(16, 6, 2)))
    tokens, grads = torch.arange(9)[None], []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        (model(tokens).square().sum() + 100 * model.balance_loss()).backward()
        grads.append([p.grad for p in model.parameters()])
        model.zero_grad()
    for a, b in zip(*grads):
        assert torch.equal(a, b)


def test_rotation_is_kept_and_usable_after_inference_mode():
    _, model = models_of(config_of(None))
    modules.rotation.cache_clear()
    with torch.inference_mode():
        expected = model(torch.arange(9)[None])
    got = model(torch.arange(9)[None])
    got.sum().backward()
    torch.testing.assert_close(got, expected.clone())
    assert modules.rotation.cache_info().misses == 1


def test_models_can_be_copied():
    _, model = models_of(config_of(Routing(16, 6, 2)))
    assert torch.equal(copy.deepcopy(model)(torch.arange(9)[None]), model(torch.arange(9)[None]))


def test_backends(monkeypatch):
    """A compiled backend is any module with the interface; without it there is a plain error."""
    config = MoHDConfig(**SIZES, mohd=Routing(16, 6, 2))
    with pytest.raises(ValueError, match="expects backend to be one of reference, compiled, got 'fast'"):
        MoHDForCausalLM(config, backend="fast")
    monkeypatch.setattr(modules, "_loaded", {})
    monkeypatch.setitem(sys.modules, "mohd.ops", None)  # an import fails
    with pytest.raises(ImportError, match="expects mohd.ops for backend 'compiled'"):
        MoHDMLP(config, "compiled")
    calls = []

    class Recorder:
        def __getattr__(self, name):
            if not name.startswith("__"):  # those are the import system's
                calls.append(name)
            return getattr(functional, name)

    monkeypatch.setitem(sys.modules, "mohd.ops", Recorder())
    model = MoHDForCausalLM(config, backend="compiled")
    model(torch.arange(9)[None])
    assert isinstance(model.model.layers[0].self_attn, MoHDAttention)
    assert calls == 2 * ["routed_projections", "routed_output", "balance_loss", "routed_projections", "swiglu", "routed_output",
                         "balance_loss"] + ["rms_norm"]
    with pytest.raises(RuntimeError, match="expects a forward before balance_loss"):
        MoHDForCausalLM(config).balance_loss()
