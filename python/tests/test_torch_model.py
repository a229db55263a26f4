# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The PyTorch model in float64: against the NumPy model over the matrix of attributes, and its gradients (rule 2)."""

import numpy as np
import pytest
import torch

from cases import config_of, random_weights, routings
from mohd import torch_model, weights as files
from mohd.config import VALUES, Config, Routing
from mohd.reference_model import Model


def models_of(config, seed=0):
    """(NumPy model, PyTorch model in float64) of the same random weights."""
    weights = random_weights(config, seed)
    model = torch_model.Model(config).double()
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
        shapes = {name: tuple(t.shape) for name, t in torch_model.Model(config).state_dict().items()}
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
    from mohd import reference

    logits = np.random.default_rng(4).integers(-2, 3, (200, 9)).astype(float)
    logits[::7, 3], logits[1::7, 0], logits[2::7, 5] = np.nan, np.inf, -np.inf
    mask = torch_model.select(torch.tensor(logits), Routing(9, 2, 3)).numpy()
    assert [np.flatnonzero(row).tolist() for row in mask] == reference.select(logits, 2, 3).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saved_model_is_read_back(tmp_path, dtype):
    config = config_of(Routing(16, 6, 2, gate="binary"), tie_word_embeddings=True)
    _, model = models_of(config)
    torch_model.save(model, tmp_path, dtype)
    assert Config.load(tmp_path) == Config.from_dict(config.to_dict() | {"torch_dtype": str(dtype)[6:]})
    for name, array in files.load(tmp_path).items():
        np.testing.assert_array_equal(array, model.state_dict()[name].to(dtype).float().numpy())
    tokens = torch.arange(9)[None]
    torch.testing.assert_close(torch_model.load(tmp_path)(tokens), model(tokens).float(), rtol=0.1, atol=0.1)
