# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m mohd.train: configurations, data, and runs that are stopped, killed and resumed."""

import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from cases import config_of
from mohd import weights
from mohd.config import Routing
from mohd.nn import MoHDForCausalLM
from mohd.train import command as program, checkpoint, config, data, loop, metrics, nonfinite

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = b"the quick brown fox jumps over the lazy dog; " * 40
MODEL = config_of(Routing(16, 6, 2), vocab_size=128, num_hidden_layers=1, tokenizer="bytes").to_dict()
VALUES = {
    "model": MODEL, "data": {"path": "text", "held_out": 0.1}, "out": "out", "sequence_length": 16, "batch": 4, "micro_batch": 2,
    "steps": 6, "schedule": {"warmup": 2}, "evaluation": {"every": 3, "sequences": 4}, "checkpoints": {"every": 2}, "log": {"every": 1},
    "save_dtype": "float32",
}


def write(folder, **changes):
    """Writes the text and a configuration with `changes` into `folder`; returns the configuration's path."""
    (folder / "text").write_bytes(TEXT)
    (folder / "train.json").write_text(json.dumps(VALUES | changes))
    return folder / "train.json"


def run(folder, *options, **changes):
    """The exit code of a run in `folder`."""
    return program.main(["--config", str(write(folder, **changes)), *options])


def outcome(folder):
    """What a run computed: its records without times, and the bytes of its model."""
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("tokens_per_s", None)
    return lines, (folder / "out/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0
    return outcome(folder)


def test_run(tmp_path, capsys):
    assert run(tmp_path, "--out", str(tmp_path / "out")) == 0
    lines, _ = outcome(tmp_path)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 6 and losses[0] == pytest.approx(math.log(128), rel=0.1) and losses[-1] < losses[0]
    assert [line["step"] for line in lines if "held_out_loss" in line] == [3, 6]
    text = capsys.readouterr().out
    assert re.search(r"step 6/6  loss \d\.\d+  balance \d\.\d+  rate 4\.64e-04  norm .* tokens/s  left 0:00:00  load \d", text)
    model = MoHDForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.num_hidden_layers == 1
    assert checkpoint.steps(tmp_path / "out/checkpoints") == [4, 6]  # of three the last two stay
    assert run(tmp_path, "--export", str(tmp_path / "exported")) == 0
    np.testing.assert_equal(weights.load(tmp_path / "exported"), weights.load(tmp_path / "out"))
    assert run(tmp_path) == 3  # nothing is overwritten
    assert "expects --resume or an output folder without checkpoints" in capsys.readouterr().err
    assert run(tmp_path, "--resume") == 0  # there is nothing left to do
    assert outcome(tmp_path)[0] == lines
    assert run(tmp_path, "--resume", seed=1) == 3
    assert "expects seed to be as in the checkpoint, 0, got 1" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [
    dict(micro_batch=4), dict(autocast="bf16"), dict(activation_checkpointing=True),
    dict(model=config_of(None, vocab_size=128).to_dict()),
    dict(model=config_of(Routing(16, 6, 2, gate="binary", balance="none"), vocab_size=128).to_dict()),
    dict(model=config_of(Routing(16, 6, 2, axis="ffn_inner"), vocab_size=128).to_dict()),
], ids=str)
def test_variants_train(tmp_path, whole, changes):
    assert run(tmp_path, **changes, steps=2) == 0
    first, expected = outcome(tmp_path)[0][0], whole[0][0]
    same = "activation_checkpointing" in changes
    assert first["loss"] == pytest.approx(expected["loss"], abs=0 if same else 0.2)
    if "micro_batch" in changes:  # the same gradient but for the balance loss, which is of a micro-batch
        assert first["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert first["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-2)


@pytest.mark.parametrize("autocast,limit", [("none", 1e-4), ("bf16", 2e-2)])
def test_compiled_operations_train_as_plain_ones(tmp_path, whole, autocast, limit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that no kernel was compiled
        assert run(tmp_path, backend="compiled", autocast=autocast) == 0
    assert (tmp_path / "out/ops.mohdb").exists()
    for got, want in zip(outcome(tmp_path)[0], whole[0], strict=True):
        for key in set(want) & {"loss", "balance", "held_out_loss", "gradient_norm"}:
            assert got[key] == pytest.approx(want[key], rel=limit), key
            assert autocast == "none" or key != "loss" or got[key] != want[key]


def test_training_starts_from_weights(tmp_path, whole, capsys):
    assert run(tmp_path) == 0
    os.rename(tmp_path / "out", tmp_path / "first")
    assert run(tmp_path, model="first", weights="first", steps=1) == 0
    assert outcome(tmp_path)[0][0]["loss"] < whole[0][0]["loss"] - 0.01
    assert run(tmp_path, model=config_of(None, vocab_size=128).to_dict(), weights="first", out="other") == 3
    assert "expects weights of the model's shapes" in capsys.readouterr().err


def kill(*_, **__):
    """Ends the process as a power failure does."""
    os.kill(os.getpid(), signal.SIGKILL)


def expect_killed(path, point):
    """Runs the configuration at `path` in a process that dies at `point`."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["mohd.train.loop", "torch._dynamo"])
    process = processes.Process(target=killed_run, args=(str(path), point))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def killed_run(config_path, point):
    """A run that dies at `point` of its second checkpoint, or in the step after its first."""
    count, step = 0, loop.Trainer.train_step

    def counted(trainer):
        if point == "step" and trainer.step == 3:
            kill()
        if trainer.step == 3:
            arm()
        return step(trainer)

    def half_a_save(parts, checkpoint_id):
        (pathlib.Path(checkpoint_id) / "__0_0.distcp").write_bytes(b"half")
        kill()

    def arm():
        if point == "weights":
            checkpoint.dcp.save = half_a_save
        elif point == "state":
            checkpoint.replace_text = kill
        elif point == "rename":
            checkpoint.os = types.SimpleNamespace(rename=kill)
        elif point == "removal":
            checkpoint.shutil = types.SimpleNamespace(rmtree=kill)

    loop.Trainer.train_step = counted
    program.main(["--config", config_path])


@pytest.mark.parametrize("point,last", [("step", 2), ("weights", 2), ("state", 2), ("rename", 2), ("removal", 4)])
def test_killed_run_resumes_bit_for_bit(tmp_path, whole, point, last):
    expect_killed(write(tmp_path, checkpoints={"every": 2, "keep": 1}), point)
    assert checkpoint.steps(tmp_path / "out/checkpoints")[-1] == last
    assert run(tmp_path, "--resume", checkpoints={"every": 2, "keep": 1}) == 0
    assert outcome(tmp_path) == whole
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["step-00000006"]


@pytest.mark.parametrize("point,last", [("step", 2), ("weights", 2)])
def test_killed_run_with_compiled_operations_resumes_bit_for_bit(tmp_path, point, last):
    changes = dict(backend="compiled", steps=4, evaluation={"every": 4, "sequences": 4})
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    assert run(folders[0], **changes) == 0
    expect_killed(write(folders[1], **changes), point)
    assert checkpoint.steps(folders[1] / "out/checkpoints")[-1] == last
    assert run(folders[1], "--resume", **changes) == 0
    assert outcome(folders[1]) == outcome(folders[0])


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_a_resumed_run_is_the_same(tmp_path, whole, monkeypatch, capsys, number, code):
    step, before = loop.Trainer.train_step, signal.getsignal(number)

    def interrupted(trainer):
        if trainer.step == 2:
            os.kill(os.getpid(), number)
        return step(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "train_step", interrupted)
        assert run(tmp_path) == code
    assert "stopped at step 3" in capsys.readouterr().out
    assert checkpoint.steps(tmp_path / "out/checkpoints") == [2, 3]
    assert signal.getsignal(number) == before
    assert run(tmp_path, "--resume") == 0
    assert outcome(tmp_path) == whole


@pytest.mark.parametrize("backend,autocast,weight,value,origin", [
    ("reference", "none", "mlp.up_proj", "nan", "model.layers.0.mlp, aten::mm"),
    ("reference", "bf16", "mlp.up_proj", "nan", "model.layers.0.mlp, aten::mm"),
    ("reference", "none", "self_attn.o_proj", "inf", "model.layers.0.self_attn, aten::mm"),
    ("compiled", "none", "mlp.up_proj", "nan", "model.layers.0.mlp, mohd::routed_projections"),
    ("compiled", "none", "self_attn.o_proj", "inf", "model.layers.0.self_attn, mohd::routed_output"),
    ("compiled", "bf16", "mlp.up_proj", "nan", "model.layers.0.mlp, mohd::spmm"),
])
def test_nan_names_step_module_and_operator(tmp_path, monkeypatch, capsys, backend, autocast, weight, value, origin):
    step = loop.Trainer.train_step

    def spoiled(trainer):
        if trainer.step == 1:
            with torch.no_grad():
                trainer.model.get_submodule(f"model.layers.0.{weight}").weight[0, 0] = float(value)
        return step(trainer)

    monkeypatch.setattr(loop.Trainer, "train_step", spoiled)
    assert run(tmp_path, backend=backend, autocast=autocast) == 1
    error = capsys.readouterr().err
    assert error == f"error: expects a finite loss at step 2; the first output that is not finite: {origin}\n"


def test_origin_of_what_is_not_finite_is_not_a_mask():
    class Mixed(torch.nn.Module):
        def forward(self, x):
            masked = torch.full((2, 2), -math.inf).triu(1) + x  # as an attention has it
            return torch.softmax(masked, -1) @ x.log().t().contiguous().to(torch.float64).float()

    model = torch.nn.Sequential(torch.nn.Identity(), Mixed())
    assert nonfinite.origin(model, lambda: model(torch.ones(2, 2))) is None
    assert nonfinite.origin(model, lambda: model(-torch.ones(2, 2))) == ("1", "aten::log")
    model[0].weight = torch.nn.Parameter(torch.full((2, 2), math.nan))
    model[0].forward = lambda x: model[0].weight
    assert nonfinite.origin(model, lambda: model(torch.ones(2, 2))) == ("0", "its weights")


def test_bad_gradient_stops_before_the_weights_are_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: torch.tensor(float("inf")))
    assert run(tmp_path) == 1
    assert "expects a finite gradient at step 1; every output of the forward pass is finite" in capsys.readouterr().err


def test_exit_codes(tmp_path, capsys, monkeypatch):
    assert program.main(["--config", str(tmp_path / "none")]) == 7
    (tmp_path / "bad").write_text("{")
    assert program.main(["--config", str(tmp_path / "bad")]) == 3
    assert "expects JSON, got: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        program.main([])
    assert run(tmp_path, data={"path": "gone"}) == 7
    assert run(tmp_path, "--export", str(tmp_path / "model")) == 7
    assert "expects a checkpoint in " in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(tmp_path, device="cuda") == 5
    assert "expects a GPU with device cuda, got none" in capsys.readouterr().err
    monkeypatch.setattr(loop, "model_of", lambda settings: (_ for _ in ()).throw(MemoryError()))
    assert run(tmp_path) == 6
    assert run(tmp_path, micro_batch=3) == 3
    assert "expects batch to be a multiple of micro_batch times processes, 3 * 1, got 4" in capsys.readouterr().err


def test_tensorboard(tmp_path):
    """What TensorBoard reads is what metrics.jsonl has."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert run(tmp_path, log={"every": 3, "tensorboard": True}) == 0
    board = accumulator.EventAccumulator(str(tmp_path / "out/tensorboard"))
    board.Reload()
    read = {name: [(event.step, event.value) for event in board.Scalars(name)] for name in board.Tags()["scalars"]}
    written = {}
    for record in map(json.loads, (tmp_path / "out/metrics.jsonl").read_text().splitlines()):
        for name, value in record.items():
            if name != "step":
                written.setdefault(name, []).append((record["step"], pytest.approx(value, rel=1e-6)))  # it writes float32
    assert [step for step, _ in read["loss"]] == [3, 6] and "held_out_loss" in read and read == written


def test_tensorboard_is_asked_for_only_if_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert run(tmp_path, log={"tensorboard": True}) == 1
    assert "expects the package tensorboard with log.tensorboard, got: " in capsys.readouterr().err


@pytest.mark.parametrize("changes,words", [
    (dict(stepz=3), "expects the keys activation_checkpointing, .*, got 'stepz'"),
    (dict(data={"path": "text", "fmt": 1}), "expects the keys format, held_out, path, got 'data.fmt'"),
    (dict(steps=0), "expects steps to be an integer of at least 1, got 0"),
    (dict(steps=1.5), "expects steps to be an integer of at least 1, got 1.5"),
    (dict(batch=True), "expects batch to be an integer of at least 1, got true"),
    (dict(optimizer={"rate": 0}), "expects optimizer.rate to be a number above 0, got 0.0"),
    (dict(optimizer={"beta1": 1}), "expects optimizer.beta1 to be a number of at least 0 and below 1, got 1.0"),
    (dict(optimizer=3), "expects optimizer to be an object, got 3"),
    (dict(data={"path": "text", "format": "csv"}), "expects data.format to be one of bytes, npy, uint16, int32, got \"csv\""),
    (dict(activation_checkpointing=1), "expects activation_checkpointing to be true or false, got 1"),
    (dict(out=3), "expects out to be a string, got 3"),
    (dict(data={}), "expects a value for data.path"),
    (dict(model=3), "expects model to be an object or a folder, got 3"),
    (dict(model=MODEL | {"mohd": MODEL["mohd"] | {"gate": "no"}}), "model: expects mohd.gate to be one of"),
    (dict(model=MODEL | {"mohd": {"gates": 1}}), "model: expects the keys axis, .*, got 'mohd.gates'"),
    (dict(seed=2**63), "expects seed to be an integer from 0 to 9223372036854775807, got 9223372036854775808"),
    (dict(optimizer={"rate": 10**400}), "expects optimizer.rate to be a number above 0, got 1000"),
    (dict(sequence_length=65), "expects sequence_length to be at most the model's max_position_embeddings 64, got 65"),
], ids=str)
def test_wrong_configurations_are_told(changes, words):
    with pytest.raises(ValueError, match=words):
        config.from_dict(VALUES | changes)


def test_configuration_must_be_an_object():
    with pytest.raises(ValueError, match="expects the configuration to be an object, got 3"):
        config.from_dict(3)


def test_paths_are_relative_to_the_file(tmp_path):
    settings = config.load(write(tmp_path, weights="w", out="/elsewhere"))
    assert (settings.data.path, settings.weights, settings.out) == (str(tmp_path / "text"), str(tmp_path / "w"), "/elsewhere")


def test_every_key_is_documented_with_its_default():
    page = (ROOT / "docs/training.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", page, re.M))
    expected = {}
    for field in dataclasses.fields(config.Settings):
        section = config.SECTIONS.get(field.name)
        for key in dataclasses.fields(section) if section else [field]:
            default = "required" if key.default is dataclasses.MISSING else f"`{json.dumps(key.default)}`"
            expected[f"{field.name}.{key.name}" if section else key.name] = default
    assert rows == expected


def settings_of(tmp_path, tokens, kind="npy", **changes):
    """Settings whose data is `tokens`, an array."""
    np.save(tmp_path / "tokens.npy", tokens)
    values = VALUES | {"data": {"path": "tokens.npy", "format": kind, "held_out": 0.1}} | changes
    return config.from_dict(values, tmp_path)


@pytest.mark.parametrize("kind,dtype", [("bytes", np.uint8), ("uint16", "<u2"), ("int32", "<i4"), ("npy", np.int64)])
def test_token_files(tmp_path, kind, dtype):
    tokens = np.arange(100).astype(dtype)
    settings = settings_of(tmp_path, tokens, kind)
    if kind != "npy":
        tokens.tofile(tmp_path / "tokens.npy")
    got = data.tokens_of(settings)
    assert isinstance(got, np.memmap)
    np.testing.assert_array_equal(got, tokens)


def test_an_epoch_has_each_sequence_once(tmp_path):
    batches = data.Batches(settings_of(tmp_path, np.arange(120), batch=3, sequence_length=8))
    assert batches.count == 12
    epochs = []
    for epoch in range(2):
        steps = [batches.training(step, range(3)) for step in range(4 * epoch, 4 * epoch + 4)]
        for inputs, targets in steps:
            assert (targets == inputs + 1).all() and inputs.shape == (3, 8) and inputs.dtype == torch.int64
        epochs.append([int(row[0]) for inputs, _ in steps for row in inputs])
        first = min(epochs[-1])
        assert sorted(epochs[-1]) == list(range(first, first + 96, 8))
    assert epochs[0] != sorted(epochs[0]) and sorted(epochs[0]) != sorted(epochs[1])
    again = data.Batches(settings_of(tmp_path, np.arange(120), batch=3, sequence_length=8))
    assert torch.equal(again.training(5, [1])[0][0], batches.training(5, [0, 1])[0][1])
    inputs, targets = batches.held_out(5)
    assert inputs.tolist() == [list(range(108, 116))] and targets.tolist() == [list(range(109, 117))]


@pytest.mark.parametrize("tokens,kind,words", [
    (np.arange(8.0), "npy", "expects one-dimensional integers in .*, got float64 \\[8\\]"),
    (np.arange(31), "npy", "expects at least 32 tokens to train on in .*, got 28"),
    (np.arange(60), "npy", "expects at least 17 held-out tokens, got 6"),
    (np.arange(400), "npy", "expects tokens from 0 to 127, the model's vocabulary, got"),
    (np.zeros(0, np.uint16), "uint16", "expects a positive multiple of 2 bytes in .*, got 1"),
], ids=str)
def test_wrong_data_is_told(tmp_path, tokens, kind, words):
    settings = settings_of(tmp_path, tokens, kind)
    if kind == "uint16":
        (tmp_path / "tokens.npy").write_bytes(b"1")
    with pytest.raises(ValueError, match=words):
        batches = data.Batches(settings)
        batches.held_out(1)
        batches.training(0, range(4))


def test_rate():
    settings = config.from_dict(VALUES | {"steps": 12, "schedule": {"warmup": 2}, "optimizer": {"rate": 1.0}})
    rates = [loop.rate_at(step, settings) for step in range(13)]
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[7] == pytest.approx(0.55) and rates[12] == pytest.approx(0.1)


def test_decay_is_for_matrices_and_not_the_fusion():
    model = MoHDForCausalLM(config_of(Routing(16, 6, 2)))
    groups = loop.optimizer_of(model, config.from_dict(VALUES)).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, rest = ({names[id(p)] for p in group["params"]} for group in groups)
    assert all(name.endswith("proj.weight") or "embed" in name or "head" in name or "router" in name for name in decayed)
    assert all("norm" in name or "fusion" in name for name in rest) and len(decayed) + len(rest) == len(names)


def test_load_counts_the_routed_groups():
    model = MoHDForCausalLM(config_of(Routing(4, 1, 1), num_hidden_layers=1))
    model(torch.arange(6)[None])
    model.model.layers[0].self_attn.indices = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 2]])
    model.model.layers[0].mlp.indices = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 3]])
    assert loop.load_of(model) == pytest.approx(3 / (4 / 3))
    assert loop.load_of(MoHDForCausalLM(config_of(None))) == 1


def test_half_a_line_of_metrics_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    metrics.Metrics(dataclasses.replace(config.from_dict(VALUES), out=str(tmp_path)), 1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
