# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the study trains and measures: tables of runs, and of rows on what they trained, at a scale.

Every model of a table has the same layers, heads, inner width, tokens and steps; what differs is the hidden width, what of it is active, and
the learning rate. A variant of semantics.md's presets keeps its (N, K_s, K_r) and its factor of the width.
"""

import dataclasses
import hashlib
import json

from study.data import vocabulary


TRIPLES = 400_000
"""Length of the constructed task's data."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the study is. `tables` are the task's (domains, symbols), `sequences` those of an evaluation."""

    width: int
    inner: int
    layers: int
    heads: int
    head_dim: int
    length: int
    batch: int
    steps: int
    rate: float
    sequences: int
    seeds: int
    backend: str
    tables: tuple
    task_width: int
    task_steps: int
    recovery_steps: int


SCALES = {
    "full": Scale(128, 320, 3, 4, 32, 256, 8, 400, 3e-3, 64, 3, "compiled", (48, 48), 32, 1000, 100),
    "small": Scale(64, 160, 2, 2, 32, 128, 8, 40, 3e-3, 8, 2, "compiled", (16, 16), 32, 40, 10),
    "test": Scale(32, 48, 1, 2, 16, 32, 2, 2, 3e-3, 2, 1, "reference", (4, 4), 32, 2, 2),
}
"""`full` is what docs/results.md shows, `small` runs whole in minutes, `test` in seconds."""

GROUPS = {"50 %": (1, (16, 6, 2)), "75 %": (1, (16, 9, 3)), "x2": (2, (16, 6, 2)), "x3": (3, (12, 3, 1)), "x4": (4, (16, 3, 1))}
"""Variants of semantics.md: factor of the width, (N, K_s, K_r)."""

EXPERTS = {"experts": 8, "active": 2}
"""The mixture of experts: each has half the dense FFN's inner width, so that two cost what the dense one costs, and eight are four times its size."""


def digest_of(*values):
    """A name for JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Run:
    """A model to train: `model` as in config.json, `experts` None or what MoEForCausalLM takes beside it, `task` "text" or "tables"."""

    table: str
    name: str
    seed: int
    task: str
    model: dict
    experts: dict | None
    settings: dict

    @property
    def digest(self):
        """A name for everything that the result follows from."""
        return digest_of(self.task, self.model, self.experts, self.settings, self.seed)

    @property
    def folder(self):
        """The name of a folder for its files: the same for the same run in several tables."""
        return f"run-{self.digest}"


WIDE, WIDE_FACTOR = "dense, wide FFN", 1.5
"""The dense model that activates as many parameters as x4, routers, fusions, embedding and head included, and more than x2 and x3; the factor of its inner width."""


def model(scale, factor=1, groups=None, task="text", inner=1, **attributes):
    """The config.json of a dense model, or of one with `groups` (N, K_s, K_r), `factor` times as wide as the scale says, its FFNs `inner` times."""
    width, heads = (scale.width, scale.heads) if task == "text" else (scale.task_width, 2)
    out = {
        "model_type": "mohd" if groups else "llama", "hidden_size": width * factor, "intermediate_size": int(inner * scale.inner) * width // scale.width,
        "num_hidden_layers": scale.layers if task == "text" else 1, "num_attention_heads": heads, "head_dim": scale.head_dim if task == "text" else 16,
        "vocab_size": 256 if task == "text" else vocabulary(*scale.tables), "max_position_embeddings": scale.length,
        "tokenizer": "bytes" if task == "text" else None,
    }
    if groups:
        out["mohd"] = dict(zip(("num_groups", "num_shared", "num_routed"), groups)) | attributes
    return {key: value for key, value in out.items() if value is not None}


def _settings(scale, task, rate):
    """The keys of mohd.train's configuration that depend on neither the model nor the seed."""
    steps = scale.steps if task == "text" else scale.task_steps
    return {
        "sequence_length": scale.length, "batch": scale.batch, "steps": steps, "optimizer": {"rate": rate},
        "schedule": {"warmup": steps // 10}, "evaluation": {"every": max(1, steps // 5), "sequences": scale.sequences},
        "checkpoints": {"every": steps, "keep": 1}, "log": {"every": max(1, steps // 5)}, "save_dtype": "float32",
    }


def _runs(table, scale, models, task="text", factors=None, seeds=None):
    """A run of each seed (those of the scale, or the first `seeds`) of each of the models {name: (config.json, experts)}, seed by seed; `factors` of the scale's learning rate by name."""
    runs = []
    for seed in range(scale.seeds if seeds is None else seeds):
        for name, (config, experts) in models.items():
            settings = _settings(scale, task, scale.rate * (factors or {}).get(name, 1))
            runs.append(Run(table, name, seed, task, config, experts, settings | {"backend": scale.backend if "mohd" in config else "reference"}))
    return runs


def _experts(scale, task):
    return EXPERTS | {"inner": model(scale, task=task)["intermediate_size"] // EXPERTS["active"]}


def _variants(scale):
    """Dense at equal active width and at equal activated parameters, every variant, the dense model of each one's whole width, and a mixture of experts."""
    models = {"dense": (model(scale), None), WIDE: (model(scale, inner=WIDE_FACTOR), None)}
    models |= {name: (model(scale, *of), None) for name, of in GROUPS.items()}
    models |= {f"dense x{factor}": (model(scale, factor), None) for factor in (2, 3, 4)}
    return models | {"experts": (model(scale), _experts(scale, "text"))}


def tried(name):
    """The factors of the scale's learning rate that `rates` tries: lower ones for models of three or four times the width."""
    if name == "x3":
        return 1, 0.5, 0.25
    return (1, 0.5, 0.25, 0.125) if name in ("x4", "dense x3", "dense x4") else (1, 0.5, 2)


BEST = {"x2": 0.5, "x3": 0.5, "x4": 0.25, "dense x2": 0.5, "dense x3": 0.25, "dense x4": 0.25}
"""The factor with the lowest loss in `rates` at full scale, by model; 1 for others."""


def rates(scale):
    """One seed of each model at several learning rates, from which BEST is chosen."""
    runs = []
    for turn in range(4):
        models = {name: (tried(name)[turn], of) for name, of in _variants(scale).items() if turn < len(tried(name))}
        named = {f"{name}, rate {scale.rate * factor:g}": (factor, of) for name, (factor, of) in models.items()}
        runs += _runs("rates", scale, {name: of for name, (_, of) in named.items()}, factors={name: factor for name, (factor, _) in named.items()}, seeds=1)
    return runs


def main(scale):
    """Every variant, each with the learning rate that suits it best."""
    return _runs("main", scale, _variants(scale), factors=BEST)


ABLATIONS = {
    "activation scaling": {f"scaling {value}": {"scaling": value} for value in ("none", "n_times_mass", "k_over_mass", "sqrt_n_over_k", "n_over_k")},
    "group fusion": {f"fusion {value}": {"fusion": value} for value in ("none", "block_diagonal")},
    "shared groups, K=8 of 16": {f"shared {k}": {"groups": (16, k, 8 - k)} for k in (0, 2, 4, 8)},
    "number of groups": {f"N={g[0]}": {"groups": g} for g in ((4, 1, 1), (8, 3, 1), (32, 12, 4), (64, 24, 8))},
    "balance loss": {"balance none": {"balance": "none"}} | {f"balance {c:g}": {"balance_coefficient": c} for c in (0.001, 0.1)},
}
"""What differs from x2 = (16, 6, 2) with the default attributes, by what is changed."""


def ablations(scale):
    """x2 with one thing changed at a time; x2 itself is in `main`."""
    models = {}
    for changes in ABLATIONS.values():
        for name, change in changes.items():
            attributes = dict(change)
            models[name] = (model(scale, 2, attributes.pop("groups", (16, 6, 2)), **attributes), None)
    return _runs("ablations", scale, models, factors=dict.fromkeys(models, BEST.get("x2", 1)))


def task(scale):
    """The constructed task, at the learning rates of `main`: dense, x4 with and without routed groups, the dense model of its whole width, a mixture of experts."""
    make = lambda *of: model(scale, *of, task="tables")
    models = {
        "dense": (make(), None), "x2": (make(*GROUPS["x2"]), None), "x4": (make(*GROUPS["x4"]), None), "x4, shared only": (make(4, (16, 4, 0)), None),
        "x4, routed only": (make(4, (16, 0, 4)), None), "dense x4": (make(4), None), "experts": (make(), _experts(scale, "tables")),
    }
    return _runs("task", scale, models, "tables", {name: BEST.get(name.partition(",")[0], 1) for name in models})


TABLES = {"rates": rates, "main": main, "ablations": ablations, "task": task}
"""The tables of runs, by name."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Something to be measured on the trained model of `run`; `settings` are what it follows from beside that model."""

    name: str
    run: Run
    settings: dict

    @property
    def digest(self):
        """A name for everything that the row follows from."""
        return digest_of(self.run.digest, self.settings)


SITES = ("resid_pre", "attn_norm", "attn_out", "mlp_norm", "mlp_act", "mlp_out")
"""The sites whose activations the page shows, by the names of docs/analysis.md."""

SEQUENCES = 64
"""Sequences of held-out text whose activations are analysed."""


def activations(scale):
    """Two dense models of `main`, each after training and as it was before."""
    runs = [run for run in main(scale) if run.name in ("dense", "dense x4")]
    return [Row(run.name, run, {"state": state, "sites": SITES, "sequences": SEQUENCES}) for run in runs for state in ("trained", "untrained")]


CONTINUED = "dense, trained on"
"""The row of `conversion` that is not converted."""

RECOVERY_RATE = 1e-3
"""Peak learning rate of the training after a conversion, mohd.convert's default."""

RECOVERY_SEED = 1000
"""What is added to a run's seed for the order of the data after a conversion: with the same seed it would begin with what the dense model began with."""


def conversion(scale):
    """The dense models of `main`, trained on as they are, and converted to each variant before that."""
    rows = []
    for run in main(scale):
        if run.name != "dense":
            continue
        recovery = {"steps": scale.recovery_steps, "rate": RECOVERY_RATE, "seed": run.seed + RECOVERY_SEED}
        rows.append(Row(CONTINUED, run, recovery))
        rows += [Row(name, run, recovery | {"expand": factor, "groups": groups}) for name, (factor, groups) in GROUPS.items()]
    return rows


ROWS = {"activations": activations, "conversion": conversion}
"""The tables of rows, by name."""


def expect_trained(run, work):
    """Raises ValueError unless the files of `run` are in the folder `work`."""
    if not (work / run.folder / "model.safetensors").exists():
        raise ValueError(f"expects the trained model of {run.name}, seed {run.seed}, in {work / run.folder}; train it by `studies/run main` with --out another folder")
