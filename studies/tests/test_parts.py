# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The parts of the study: plan, data, mixture of experts, intervals."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mohd.config import Config
from mohd.nn.modules import RMSNorm
from conftest import STUDIES
from study import conversion, data, plan, results
from study.moe import Experts, MoEForCausalLM


def test_plan_runs_differ():
    for scale in plan.SCALES.values():
        for table in plan.TABLES.values():
            runs = table(scale)
            assert len({run.folder for run in runs}) == len({(run.name, run.seed) for run in runs}) == len(runs)


def test_plan_digest_follows_from_what_the_result_does():
    run = plan.main(plan.SCALES["full"])[0]
    assert dataclasses.replace(run, table="other", name="other").digest == run.digest
    for change in ({"seed": 1}, {"settings": run.settings | {"steps": 1}}, {"model": run.model | {"hidden_size": 8}}, {"task": "tables"}, {"experts": {}}):
        assert dataclasses.replace(run, **change).digest != run.digest


def test_plan_rows_differ():
    for scale in plan.SCALES.values():
        for table in plan.ROWS.values():
            rows = table(scale)
            assert len({row.digest for row in rows}) == len(rows) and {row.run.digest for row in rows} <= {run.digest for run in plan.main(scale)}
        assert {row.name for row in plan.conversion(scale)} == {plan.CONTINUED, *plan.GROUPS}


def test_recovery_has_an_order_of_its_own(monkeypatch, tmp_path):
    """Not that of the dense model's training, whose first batches it would see again."""
    scale = plan.SCALES["test"]
    trained, given = {run.seed for run in plan.main(scale)}, []

    def trainer(settings):
        given.append(settings.seed)
        raise InterruptedError

    monkeypatch.setattr(conversion, "Trainer", trainer)
    for row in plan.conversion(scale):
        with pytest.raises(InterruptedError):
            conversion.trained_on(tmp_path, row.run.model, row, scale, tmp_path / "text")
    assert len(given) == len(plan.GROUPS) + 1 and not trained & set(given)


def test_plan_models_are_the_variants():
    scale = plan.SCALES["full"]
    models = {run.name: Config.from_dict(run.model) for run in plan.main(scale)}
    for name, (factor, groups) in plan.GROUPS.items():
        assert models[name].hidden_size == factor * scale.width
        assert (models[name].mohd.num_groups, models[name].mohd.num_shared, models[name].mohd.num_routed) == groups
        active = models[name].hidden_size * models[name].mohd.num_active // models[name].mohd.num_groups
        assert active == {"50 %": scale.width // 2, "75 %": 3 * scale.width // 4}.get(name, scale.width)
    assert {config.head_dim * config.num_attention_heads for config in models.values()} == {scale.width}
    activated = {name: of.parameters()[1] for name, of in models.items()}
    assert activated[plan.WIDE] == pytest.approx(activated["x4"], rel=0.01) and activated[plan.WIDE] > max(activated["x2"], activated["x3"])


def test_plan_ablations_change_one_thing():
    scale = plan.SCALES["full"]
    base = next(run.model for run in plan.main(scale) if run.name == "x2")
    for run in plan.ablations(scale):
        if run.name == "shared 8":  # has no routed groups, so nothing of the router
            continue
        assert {key for key in run.model if run.model[key] != base.get(key)} == {"mohd"}
        Config.from_dict(run.model)


def test_best_rates_are_those_of_the_committed_results():
    losses = {}
    for run in results.read(STUDIES / "results/rates.json")["runs"]:
        losses.setdefault(run["name"].partition(", rate")[0], {})[run["settings"]["optimizer"]["rate"]] = run["loss"]
    scale = plan.SCALES["full"]
    for name, found in losses.items():
        assert set(found) == {scale.rate * factor for factor in plan.tried(name)}
        assert scale.rate * plan.BEST.get(name, 1) == min(found, key=found.get), name


def test_tables_answers_are_a_permutation_of_each_domain():
    domains, symbols = 3, 5
    domain, query, answer = data.tables_tokens(domains, symbols, 1000, 0).reshape(-1, 3).astype(int).T
    assert domain.max() < domains <= query.min() and query.max() < domains + symbols <= answer.min()
    assert answer.max() < data.vocabulary(domains, symbols)
    found = {}
    for key, value in zip(zip(domain, query), answer):
        assert found.setdefault(key, value) == value
    assert len(found) == domains * symbols
    for d in range(domains):
        assert len({value for (of, _), value in found.items() if of == d}) == symbols


def test_tables_file_is_written_once(tmp_path):
    path = data.tables_file(tmp_path, 2, 2, 10)
    stamp = path.stat().st_mtime_ns
    assert data.tables_file(tmp_path, 2, 2, 10).stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(np.load(path), data.tables_tokens(2, 2, 10, 0))


@pytest.mark.parametrize("tokens,active", [(0, 2), (1, 1), (7, 2), (13, 4)])
def test_experts_are_a_loop_over_tokens(tokens, active):
    torch.manual_seed(0)
    part, norm = Experts(6, 5, 4, active).double(), RMSNorm(6, 1e-5).double()
    x = torch.randn(tokens, 6, dtype=torch.float64)
    out, balance = part(x, norm)
    assert out.shape == x.shape
    for t in range(tokens):
        normed = norm(x[t : t + 1])[0]
        logits = part.router.weight @ normed
        chosen = sorted(range(4), key=lambda e: -logits[e].item())[:active]
        gates, wanted = torch.softmax(logits[chosen], 0), x[t].clone()
        for gate, e in zip(gates, chosen):
            hidden = part.gate_up[e] @ normed
            wanted += gate * (part.down[e] @ (F.silu(hidden[:5]) * hidden[5:]))
        torch.testing.assert_close(out[t], wanted, rtol=1e-12, atol=1e-12)
    if tokens and active == 4:  # every expert has every token
        torch.testing.assert_close(balance.item(), 0.01)


def test_experts_unused_have_no_gradient():
    torch.manual_seed(1)
    part, norm = Experts(6, 5, 4, 1), RMSNorm(6, 1e-5)
    out, balance = part(torch.randn(1, 6), norm)
    (out.sum() + balance).backward()
    assert sum(bool(part.down.grad[e].any()) for e in range(4)) == 1
    assert part.router.weight.grad.any()


def test_experts_are_counted():
    config = Config(8, 12, 2, 2, 16, 32)
    model = MoEForCausalLM(config, experts=4, active=2, inner=6)
    total, activated = model.count()
    assert total == sum(p.numel() for p in model.parameters())
    dense_total, dense_activated = config.parameters()
    routers = 2 * 4 * 8
    assert activated == dense_activated + routers  # two experts of half the inner width
    assert total == dense_total + routers + 2 * 3 * 8 * 12  # twice the dense FFNs
    assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 16)


def test_interval_is_students():
    mean, half = results.interval([1.0, 2.0, 3.0])
    assert mean == 2 and math.isclose(half, 4.303 / math.sqrt(3))
    assert results.interval([5.0]) == (5.0, math.inf)
    assert results.interval([2.0, 2.0]) == (2.0, 0.0)


def test_paired_takes_common_seeds():
    runs, base = {0: {"x": 3.0}, 1: {"x": 5.0}, 2: {"x": 9.0}}, {0: {"x": 1.0}, 1: {"x": 3.0}}
    assert results.paired(runs, base, lambda run, other: run["x"] - other["x"]) == (2.0, 0.0)


def test_result_files_are_whole(tmp_path):
    path = tmp_path / "main.json"
    assert results.read(path) == {}
    results.write(path, {"runs": [{"loss": 1 / 3}, {"loss": 2.0}], "digest": "x"})
    assert results.read(path) == {"runs": [{"loss": 0.33333333}, {"loss": 2.0}], "digest": "x"}
    assert [p.name for p in tmp_path.iterdir()] == ["main.json"]
