# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training loop."""

import contextlib
import dataclasses
import math
import pathlib
import time

import torch
import torch.nn.functional as F

from mohd import ops
from mohd.config import Config
from mohd.nn import MoHDForCausalLM
from mohd.nn import compile as compile_model
from mohd.nn.functional import active_mask
from mohd.nn.model import save_weights
from mohd.progress import clock
from mohd.train import checkpoint, nonfinite, parallel
from mohd.train.data import Batches
from mohd.train.metrics import Metrics

FIXED = ("model", "sequence_length", "batch", "seed")
"""Keys that a resumed run must have as before: the data's order and the weights' shapes follow from them."""


class NonFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite."""


def rate_at(step, settings):
    """Learning rate: linear warm-up, then a cosine from the peak down to `schedule.final` of it."""
    peak, schedule = settings.optimizer.rate, settings.schedule
    if step < schedule.warmup:
        return peak * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, settings.steps - schedule.warmup)
    return peak * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * done)) / 2)


def optimizer_of(model, settings):
    """AdamW, with weight decay on the matrices only."""
    fusion = lambda name: ".fusion." in name  # decay would pull it from the identity to zero
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decay = [p for n, p in named if p.ndim >= 2 and not fusion(n)]
    rest = [p for n, p in named if p.ndim < 2 or fusion(n)]
    o = settings.optimizer
    groups = [{"params": decay, "weight_decay": o.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=o.rate, betas=(o.beta1, o.beta2), eps=o.eps, fused=True)


def model_of(settings):
    """The model to begin with: random weights from the seed, or those of settings.weights."""
    torch.manual_seed(settings.seed)
    model = MoHDForCausalLM(settings.model, settings.backend)
    if settings.weights:
        if Config.load(settings.weights).tensor_shapes() != settings.model.tensor_shapes():
            raise ValueError(f"expects weights of the model's shapes, got those of {settings.weights}")
        model.load_state_dict(MoHDForCausalLM.from_pretrained(settings.weights).state_dict())
    model.checkpointing = settings.activation_checkpointing
    for part in model.sub_layers():  # a router that no loss reaches stays as it is
        if part.routing and part.routing.needs_scores and (part.routing.gate, part.routing.balance) == ("binary", "none"):
            part.router.requires_grad_(False)
    return model.train()


def cross_entropy(logits, targets, reduction="mean"):
    """Cross entropy in nats per token, in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)


def load_of(model):
    """How uneven the last forward's routing was: the most tokens of a routed group over their mean, of the worst router."""
    worst = []
    for part in model.sub_layers():
        routing = part.routing
        if routing is not None and 0 < routing.num_routed < routing.num_groups - routing.num_shared:
            count = active_mask(part.indices, routing.num_groups).sum(0)[routing.num_shared :].float()
            worst.append(count.max() / count.mean())
    return torch.stack(worst).max().item() if worst else 1.0


class Trainer:
    """A run of `settings`, of the model that they say or of `model`, a MoHDForCausalLM with layers of another kind.

    `stop` may be set to a signal's number at any time: the run saves and ends after its step.
    """

    def __init__(self, settings, model=None):
        self.settings, self.stop, self.step = settings, 0, 0
        self.rank, self.world = parallel.world()
        self.micro = settings.micro_batch or settings.batch // self.world
        if self.micro == 0 or settings.batch % (self.micro * self.world):
            raise ValueError(
                f"expects batch to be a multiple of micro_batch times processes, {self.micro} * {self.world}, got {settings.batch}"
            )
        self.device = parallel.device_of(settings.device)
        self.batches = Batches(settings)
        self.held_out = self.batches.held_out(settings.evaluation.sequences)
        self.model = (model or model_of(settings)).to(self.device)
        if settings.backend == "compiled":
            self.compile()
        self.runner = parallel.wrap(self.model, settings, self.device)
        self.optimizer = optimizer_of(self.model, settings)
        self.checkpoints = pathlib.Path(settings.out) / "checkpoints"

    def compile(self):
        """Compiles the model's operations into `out`/ops.mohdb, once for all processes. Nothing compiles later."""
        bundle = pathlib.Path(self.settings.out) / "ops.mohdb"
        if parallel.is_first():
            bundle.parent.mkdir(parents=True, exist_ok=True)
            with self.autocast():
                compile_model(self.model, bundle)
        parallel.barrier()
        if not parallel.is_first():
            ops.load(bundle)

    def record(self):
        """What a checkpoint says of its run."""
        values = dataclasses.asdict(self.settings)
        return {key: values[key] for key in FIXED} | {"tokens": len(self.batches.train) + len(self.batches.rest)}

    def resume(self):
        """Goes on from the last whole checkpoint, if there is one."""
        steps = checkpoint.steps(self.checkpoints)
        if not steps:
            return
        before = checkpoint.state_of(self.checkpoints, steps[-1])["run"]
        for key, value in self.record().items():
            if before[key] != value:
                raise ValueError(f"expects {key} to be as in the checkpoint, {before[key]}, got {value}")
        checkpoint.load(self.checkpoints, steps[-1], self.model, self.optimizer, self.device)
        self.step = steps[-1]

    def save(self):
        """Writes a checkpoint of this step."""
        keep = self.settings.checkpoints.keep
        checkpoint.save(self.checkpoints, self.step, self.model, self.optimizer, self.device, self.record(), keep)

    def autocast(self):
        """The context of the run's forward passes."""
        if self.settings.autocast == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def micro_batches(self):
        """This process's part of the step's batch: inputs and targets, each [micro_batch, S], one after the other."""
        for first in range(self.rank * self.micro, self.settings.batch, self.world * self.micro):
            rows = self.batches.training(self.step, range(first, first + self.micro))
            yield [part.to(self.device) for part in rows]

    def explain(self, what):
        """Raises NonFinite with the step, and the module and the operator whose output is the first that is not finite."""
        with self.autocast():
            found = [nonfinite.origin(self.model, lambda: self.model(inputs)) for inputs, _ in self.micro_batches()]
        origins = [origin for origin in parallel.gathered(found) if origin]
        where = f"the first output that is not finite: {', '.join(filter(None, origins[0]))}" if origins else "every output of the forward pass is finite"
        raise NonFinite(f"expects a finite {what} at step {self.step + 1}; {where}")

    def train_step(self):
        """One step of the optimizer; returns (loss, balance loss, norm of the gradient), of all processes."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        parts = self.settings.batch // (self.micro * self.world)
        sums = torch.zeros(2, device=self.device)
        for i, (inputs, targets) in enumerate(self.micro_batches()):
            with parallel.synchronised(self.runner, i == parts - 1):
                with self.autocast():
                    logits = self.runner(inputs)
                loss, balance = cross_entropy(logits, targets), self.model.balance_loss()
                ((loss + balance) / parts).backward()
            sums += torch.stack([loss.detach(), balance.detach().float()])
        loss, balance = (parallel.total(sums) / (parts * self.world)).tolist()
        if not math.isfinite(loss + balance):
            self.explain("loss")
        norm = parallel.whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip)).item()
        if not math.isfinite(norm):
            self.explain("gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss, balance, norm

    @torch.no_grad()
    def evaluate(self):
        """Mean loss over the held-out sequences, in nats per token."""
        chunks = list(zip(*(part.split(self.micro) for part in self.held_out)))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for first in range(0, len(chunks), self.world):  # every process makes as many forward passes as the others
            mine = first + self.rank
            inputs, targets = (part.to(self.device) for part in chunks[min(mine, len(chunks) - 1)])
            with self.autocast():
                logits = self.model(inputs)
            if mine < len(chunks):
                total += cross_entropy(logits, targets, "sum")
        return parallel.total(total).item() / self.held_out[0].numel()

    def run(self):
        """Trains to the end or to `stop`; returns the held-out loss, or None if it was stopped."""
        with contextlib.closing(Metrics(self.settings, self.step)) as metrics:
            held_out = self.steps(metrics)
        if self.step == self.settings.steps:
            self.export(self.settings.out)
            return held_out
        if self.step not in checkpoint.steps(self.checkpoints):
            self.save()
        return None

    def steps(self, metrics):
        """Trains and tells it to `metrics`; returns the held-out loss after the last step that had one, None if there was none."""
        s, started, begun, marked, marked_step = self.settings, time.monotonic(), self.step, time.monotonic(), self.step
        held_out = self.evaluate() if self.step == s.steps else None
        while self.step < s.steps and not parallel.largest(self.stop, self.device):
            loss, balance, norm = self.train_step()
            now, last = time.monotonic(), self.step == s.steps
            if self.step % s.log.every == 0 or last:
                speed = (self.step - marked_step) * s.batch * s.sequence_length / (now - marked)
                left = clock((now - started) / (self.step - begun) * (s.steps - self.step))
                load, rate = load_of(self.model), rate_at(self.step - 1, s)
                line = (f"step {self.step}/{s.steps}  loss {loss:.4f}  balance {balance:.4f}  rate {rate:.2e}  norm {norm:.2f}  "
                        f"{speed:.0f} tokens/s  left {left}  load {load:.2f}")
                metrics.add(self.step, line, loss=loss, balance=balance, rate=rate, gradient_norm=norm, tokens_per_s=speed, load=load)
                marked, marked_step = time.monotonic(), self.step
            metrics.progress(self.step, loss, lambda: load_of(self.model))
            if self.step % s.evaluation.every == 0 or last:
                held_out = self.evaluate()
                metrics.add(self.step, f"step {self.step}/{s.steps}  held-out loss {held_out:.4f}", held_out_loss=held_out)
            if self.step % s.checkpoints.every == 0 or last:
                self.save()
        return held_out

    def export(self, folder):
        """Writes the model into `folder`, in Hugging Face layout."""
        weights = parallel.gathered_weights(self.model)
        if parallel.is_first():
            save_weights(self.settings.model, weights, folder, getattr(torch, self.settings.save_dtype))
        parallel.barrier()
