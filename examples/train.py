# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Trains the example language models on the CPU: byte-level tokens, AdamW, cosine schedule, balance loss.

    python examples/train.py mohd  --out examples/mohd-tiny
    python examples/train.py dense --out examples/dense-tiny

The two models have equal activated parameters and see the same batches. Writes config.json, model.safetensors (bf16)
and training.json (the command, the data's hash, the settings and the losses) into the output folder.
"""

import argparse
import hashlib
import json
import math
import pathlib
import sys
import time

import torch
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import corpus  # noqa: E402
from mohd.config import Config, Routing  # noqa: E402
from mohd.nn import MoHDForCausalLM  # noqa: E402

COMMON = dict(
    num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=256,
    max_position_embeddings=1024, tokenizer="bytes",
)
MODELS = {
    "mohd": Config(hidden_size=256, intermediate_size=384, **COMMON, mohd=Routing(16, 6, 2)),
    # as wide as the active part of the one above; its larger d_ff makes up for routers, fusion and the wider LM head
    "dense": Config(hidden_size=128, intermediate_size=448, **COMMON),
}
LENGTH = 512  # tokens of a training sequence


def to_tokens(text):
    """Bytes as a tensor of token numbers."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def batch_of(data, size, generator):
    """`size` random sequences: inputs and targets, each [size, LENGTH]."""
    start = torch.randint(len(data) - LENGTH - 1, (size,), generator=generator)
    rows = torch.stack([data[s : s + LENGTH + 1] for s in start]).long()
    return rows[:, :-1], rows[:, 1:]


def loss_of(model, inputs, targets):
    """Mean cross entropy in nats per byte."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(inputs)
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@torch.no_grad()
def validate(model, data, limit=None):
    """Mean loss in nats per byte over consecutive sequences of the held-out data, in float32."""
    count = (len(data) - 1) // LENGTH
    rows = data[: count * LENGTH].view(count, LENGTH).long()
    targets = data[1 : count * LENGTH + 1].view(count, LENGTH).long()
    total, count = 0.0, min(count, limit or count)
    for i in range(0, count, 8):
        part = slice(i, min(i + 8, count))
        logits = model(rows[part])
        total += functional.cross_entropy(logits.flatten(0, 1), targets[part].flatten(), reduction="sum").item()
    return total / (count * LENGTH)


def rate_at(step, args):
    """Learning rate: linear warm-up, then a cosine down to a tenth of the peak."""
    if step < args.warmup:
        return args.rate * (step + 1) / args.warmup
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return args.rate * (0.55 + 0.45 * math.cos(math.pi * done))


def optimizer_of(model):
    """AdamW, with weight decay on the matrices only."""
    fusion = lambda name: ".fusion." in name  # decay would pull it from the identity to zero
    named = list(model.named_parameters())
    decay = [p for n, p in named if p.ndim >= 2 and not fusion(n)]
    rest = [p for n, p in named if p.ndim < 2 or fusion(n)]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def train(model, data, held_out, args):
    """Runs the training loop; returns its log, a list of (step, training loss, validation loss)."""
    generator = torch.Generator().manual_seed(args.seed)
    optimizer, log, started = optimizer_of(model), [], time.monotonic()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args)
        loss = loss_of(model, *batch_of(data, args.batch, generator))
        (loss + model.balance_loss()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % args.every == args.every - 1:
            log.append((step + 1, round(loss.item(), 4), round(validate(model, held_out, 32), 4)))
            seconds = time.monotonic() - started
            print("step %d  train %.4f  held out (part) %.4f" % log[-1], f"  {seconds:.0f} s", flush=True)
            model.save_pretrained(args.out, torch.bfloat16)
    return log


def parse_args():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write the model into")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8, help="sequences of 512 tokens in a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps of linear warm-up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main():
    """Trains one model and writes its folder."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    text = corpus.fetch()
    data, held_out = (to_tokens(part) for part in corpus.split(text))
    model = MoHDForCausalLM(MODELS[args.model])
    total, active = model.config.parameters()
    print(f"{args.model}: {total} parameters, {active} activated; {len(data)} training bytes", flush=True)
    log = train(model, data, held_out, args)
    model.save_pretrained(args.out, torch.bfloat16)
    record = {
        "command": f"python examples/train.py {args.model} --out {args.out} --steps {args.steps} --batch {args.batch} "
        f"--rate {args.rate} --warmup {args.warmup} --seed {args.seed}",
        "data": {"package": corpus.PACKAGE, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "parameters": total,
        "activated_parameters": active,
        "steps": args.steps,
        "tokens": args.steps * args.batch * LENGTH,
        "seed": args.seed,
        "torch": torch.__version__,
        # of the checkpoint as written, that is after rounding to bf16; nats per byte over the whole held-out part
        "validation_loss": round(validate(MoHDForCausalLM.from_pretrained(args.out), held_out), 4),
        "log": log,
    }
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"validation loss {record['validation_loss']}")


if __name__ == "__main__":
    main()
