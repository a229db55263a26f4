# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training by two processes, and what it costs. All runs of two processes are made by one pair of them."""

import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import socket

import pytest
import torch

from cases import config_of
from mohd import find
from mohd.config import Routing
from mohd.nn import MoHDForCausalLM
from mohd.train import command as program, checkpoint, cost, costs, loop

pytestmark = pytest.mark.xdist_group("distributed")  # one process, as the runs of two are made once

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = dict(vocab_size=128, tokenizer="bytes")
SPARSE = config_of(Routing(32, 0, 1), **SIZES).to_dict()  # most groups are unused by 32 tokens
FROZEN = config_of(Routing(16, 6, 2, gate="binary", balance="none"), num_hidden_layers=1, **SIZES).to_dict()
BASE = {
    "data": {"path": "text", "held_out": 0.15}, "sequence_length": 16, "batch": 4, "micro_batch": 2, "steps": 4, "schedule": {"warmup": 2},
    "evaluation": {"every": 4, "sequences": 9}, "checkpoints": {"every": 2, "keep": 9}, "log": {"every": 1}, "save_dtype": "float32",
}
RUNS = {
    "ddp": {"model": SPARSE},
    "ddp-parts": {"model": FROZEN, "batch": 8, "steps": 2},
    "fsdp": {"model": SPARSE, "batch": 8, "parallel": "fsdp", "activation_checkpointing": True},
    "stopped": {"model": SPARSE, "batch": 8, "parallel": "fsdp", "activation_checkpointing": True},
    "spoiled": {"model": SPARSE, "batch": 8, "parallel": "fsdp"},
    "odd": {"model": SPARSE, "batch": 6},
    "ddp-compiled": {"model": SPARSE, "backend": "compiled"},
    "fsdp-compiled": {"model": SPARSE, "batch": 8, "parallel": "fsdp", "activation_checkpointing": True, "backend": "compiled"},
    "other": {"model": SPARSE, "batch": 8, "steps": 6},  # goes on where "fsdp" ends
}
"""Configurations by name."""

COMPILED = [name for name in RUNS if name.endswith("-compiled") and (find.compiler() or "MOHD_BUILD" in os.environ)]
"""Those that need the compiler; without a build there is none (scripts/check sets MOHD_BUILD)."""

CALLS = [*((name,) for name in COMPILED), ("ddp",), ("ddp-parts",), ("fsdp",), ("stopped",), ("stopped", "--resume"), ("spoiled",), ("odd",), ("other", "--resume")]
"""What the two processes run, one after the other."""


def free_ports(count):
    """Ports that nothing listens to."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def one_of_two(rank, folder, ports):
    """Makes all runs as process `rank`; writes the exit codes."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    step, codes, current = loop.Trainer.train_step, [], []

    def disturbed(trainer):
        if current == ["stopped"] and trainer.step == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # one process only: both must stop
        if current == ["spoiled"] and trainer.step == 1:
            weight = trainer.model.model.layers[1].self_attn.o_proj.weight
            with torch.no_grad():
                weight.to_local().fill_(float("nan")) if rank == 1 else None
        return step(trainer)

    loop.Trainer.train_step = disturbed
    for call, port in zip(CALLS, ports):
        os.environ["MASTER_PORT"] = str(port)
        current[:] = call
        if call[0] == "other" and rank == 0:
            shutil.copytree(f"{folder}/fsdp/out", f"{folder}/other/out")
        codes.append(program.main(["--config", f"{folder}/{call[0]}/train.json", *call[1:]]))
    pathlib.Path(folder, f"codes-{rank}.json").write_text(json.dumps(codes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder with what the two processes wrote, a folder for each name of RUNS."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in RUNS.items():
        (folder / name).mkdir()
        (folder / name / "text").write_bytes(b"the quick brown fox jumps over the lazy dog; " * 40)
        (folder / name / "train.json").write_text(json.dumps(BASE | {"out": "out"} | changes))
    context, ports = multiprocessing.get_context("forkserver"), free_ports(len(CALLS))
    context.set_forkserver_preload(["mohd.train.loop", "torch._dynamo"])
    processes = [context.Process(target=one_of_two, args=(rank, str(folder), ports)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        process.kill()
    return folder


def records(folder):
    """The records of a run without its speed."""
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("tokens_per_s", "load")} for line in lines]


def expect_close(got, expected):
    """The same records to rounding."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        assert a == pytest.approx(b, rel=2e-5, abs=1e-7)


def by_one_process(runs, name, folder):
    """The records of the same configuration run by this process."""
    shutil.copytree(runs / name, folder, ignore=lambda *_: ["out"])
    assert program.main(["--config", str(folder / "train.json")]) == 0
    return records(folder)


def test_exit_codes_are_those_of_all_processes(runs):
    for rank in range(2):
        assert json.loads((runs / f"codes-{rank}.json").read_text()) == [0] * len(COMPILED) + [0, 0, 0, 143, 0, 1, 3, 0]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_operations_have_the_losses_of_plain_ones(runs, name):
    expect_close(records(runs / name), records(runs / name.removesuffix("-compiled")))
    assert (runs / name / "out/ops.mohdb").exists()


@pytest.mark.parametrize("name", ["ddp", "ddp-parts", "fsdp"])
def test_two_processes_have_the_losses_of_one(runs, tmp_path, name):
    """The whole batch, cut into the same micro-batches; evaluation of an odd number of sequences included."""
    expect_close(records(runs / name), by_one_process(runs, name, tmp_path / "one"))
    got, expected = (MoHDForCausalLM.from_pretrained(f / "out").state_dict() for f in (runs / name, tmp_path / "one"))
    for key, tensor in got.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-5)


def test_sharded_run_that_was_stopped_resumes_bit_for_bit(runs):
    assert checkpoint.steps(runs / "stopped/out/checkpoints") == [2, 3, 4]
    assert records(runs / "stopped") == records(runs / "fsdp")
    assert (runs / "stopped/out/model.safetensors").read_bytes() == (runs / "fsdp/out/model.safetensors").read_bytes()


def test_sharded_checkpoint_goes_on_in_one_process(runs, tmp_path):
    folder = tmp_path / "one"
    shutil.copytree(runs / "fsdp", folder)
    shutil.rmtree(folder / "out/checkpoints/step-00000004")
    assert {p.name[:4] for p in (folder / "out/checkpoints/step-00000002").glob("*.distcp")} == {"__0_", "__1_"}
    assert program.main(["--config", str(folder / "train.json"), "--resume"]) == 0
    expect_close(records(folder), records(runs / "fsdp"))


def test_sharded_checkpoint_goes_on_with_whole_weights(runs, tmp_path):
    """Of ddp, as it does in one process."""
    shutil.copytree(runs / "fsdp/out", tmp_path / "one/out")
    shutil.copytree(runs / "other", tmp_path / "one", ignore=lambda *_: ["out"], dirs_exist_ok=True)
    assert program.main(["--config", str(tmp_path / "one/train.json"), "--resume"]) == 0
    expect_close(records(tmp_path / "one"), records(runs / "other"))
    assert records(runs / "other")[-1]["step"] == 6


def test_nan_in_one_process_stops_both(runs):
    assert len(records(runs / "spoiled")) == 1
    assert not (runs / "spoiled/out/checkpoints").exists()


def test_unused_groups_have_zero_gradients():
    """Not None, which DistributedDataParallel would wait for."""
    torch.manual_seed(0)
    model = MoHDForCausalLM(config_of(Routing(32, 0, 1), num_hidden_layers=1))
    (model(torch.arange(4)[None]).sum() + model.balance_loss()).backward()
    assert all(p.grad is not None for p in model.parameters())
    part = model.model.layers[0].mlp
    unused = sorted(set(range(32)) - set(part.indices.flatten().tolist()))
    assert len(unused) >= 28
    assert (part.up_proj.weight.grad[:, unused] == 0).all() and (part.down_proj.weight.grad[unused] == 0).all()
    assert (part.up_proj.weight.grad != 0).any()


def test_presets_are_those_of_the_compiler():
    """By the table of docs/models.md, which the compiler's tests check."""
    rows = re.findall(r"^\| `(mohd-[\w-]+)` \|.*\| ([\d.]+)M \| ([\d.]+)M \|", (ROOT / "docs/models.md").read_text(), re.M)
    assert [name for name, _, _ in rows] == list(costs.PRESETS)
    for name, *numbers in rows:
        assert [f"{count / 1e6:.2f}" for count in costs.preset(name).parameters()] == numbers
    with pytest.raises(ValueError, match="expects one of mohd-355m-dense, .*, got 'mohd-1t'"):
        costs.preset("mohd-1t")


@pytest.mark.parametrize("routing", [None, Routing(16, 6, 2)], ids=str)
def test_activations_are_what_autograd_keeps(routing):
    """Counted on tensors with data, of more layers and tokens than the computation looks at."""
    config = config_of(routing, hidden_size=64, head_dim=16, num_hidden_layers=3, max_position_embeddings=256)
    model = MoHDForCausalLM(config)
    kept = [costs._kept(model, tokens, True) for tokens in (64, 256)]
    assert costs.activation_bytes(config) == (kept[1] - kept[0]) // 192
    assert costs.activation_bytes(config, checkpointing=True) < costs.activation_bytes(config)


def test_costs_of_a_small_model(monkeypatch):
    monkeypatch.setattr(costs, "activation_bytes", lambda *_: 7)
    config = config_of(None)
    total = 4 * config.parameters()[0]
    outside = 4 * (2 * 29 * 32 + 32)
    ddp = {"weights": total, "gradients": total, "optimizer": 2 * total, "activations_per_token": 7, "sent": total * 3 // 2}
    assert ddp.items() <= cost(config, processes=4).items()
    assert cost(config)["sent"] == 0
    fsdp = cost(config, processes=4, parallel="fsdp")
    assert [fsdp[key] for key in ("weights", "gradients", "optimizer")] == [total // 4, total // 4, total // 2]
    assert fsdp["sent"] == (2 * (total - outside) + outside) * 3 // 4 + total * 3 // 4
    two = cost(config, processes=4, parallel="fsdp", micro_batches=2)
    assert two["gradients"] == total and two["sent"] == 2 * fsdp["sent"] - total * 3 // 4
    with pytest.raises(ValueError, match="expects parallel to be one of ddp, fsdp, got 'tp'"):
        cost(config, parallel="tp")


def table_row(name):
    """The row of docs/distributed.md for a preset, 8 processes."""
    config = costs.preset(name)
    ddp, fsdp = (cost(config, 8, parallel) for parallel in ("ddp", "fsdp"))
    again = cost(config, 8, activation_checkpointing=True)["activations_per_token"]
    state = lambda c: (c["weights"] + c["gradients"] + c["optimizer"]) / 1e9
    return (f"| `{name}` | {ddp['parameters'] / 1e6:.1f} | {state(ddp):.2f} | {state(fsdp):.2f} | {ddp['activations_per_token'] / 1e6:.3f} | "
            f"{again / 1e6:.3f} | {ddp['sent'] / 1e9:.2f} | {fsdp['sent'] / 1e9:.2f} |")


def test_table_of_costs(monkeypatch):
    """Activations, which take seconds to count, are counted for one preset and taken from the page for the others."""
    rows = re.findall(r"^\| `(mohd-[\w-]+)` .*\|$", page := (ROOT / "docs/distributed.md").read_text(), re.M)
    assert rows == list(costs.PRESETS)
    for name in rows:
        written = next(line for line in page.splitlines() if line.startswith(f"| `{name}` "))
        if name != "mohd-355m-x2":
            numbers = [round(float(cell) * 1e6) for cell in written.split("|")[5:7]]
            monkeypatch.setattr(costs, "activation_bytes", lambda config, autocast, checkpointing: numbers[checkpointing])
        assert written == table_row(name)
        monkeypatch.undo()
