# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The baseline: a decoder whose FFNs are mixtures of experts, in plain PyTorch.

Top-k routing with gates normalised over the chosen experts, as in Mixtral (arXiv 2401.04088, section 2.1), and the
balance loss of Switch Transformers (arXiv 2101.03961, equation 4). Dropless: no expert has a limit of tokens.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mohd.nn import MoHDForCausalLM


class Experts(nn.Module):
    """An FFN of `experts` SwiGLU experts of inner width `inner`, of which each token takes `active`."""

    routing = indices = None  # it has no groups of hidden dimensions

    def __init__(self, width, inner, experts, active, coefficient=0.01):
        super().__init__()
        self.active, self.coefficient = active, coefficient
        self.router = nn.Linear(width, experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(experts, 2 * inner, width) * 0.02)
        self.down = nn.Parameter(torch.randn(experts, width, inner) * 0.02)

    def forward(self, x, norm):
        """(x plus the experts' output, both [T, D], the balance loss)."""
        normed = norm(x)
        logits = self.router(normed)  # [T, experts]
        top, chosen = logits.topk(self.active, -1)
        gates, out = top.softmax(-1), torch.zeros_like(x)
        for expert in range(len(self.down)):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            gate, up = F.linear(normed[token], self.gate_up[expert]).chunk(2, -1)
            y = F.linear(F.silu(gate) * up, self.down[expert])
            out = out.index_add(0, token, y * gates[token, slot, None])
        share = F.one_hot(chosen, len(self.down)).sum((0, 1)) / (self.active * len(x))
        balance = self.coefficient * len(self.down) * (share * logits.softmax(-1).mean(0)).sum()
        return x + out, balance


class MoEForCausalLM(MoHDForCausalLM):
    """The dense model of `config` with experts in place of each FFN."""

    def __init__(self, config, experts, active, inner):
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp = Experts(config.hidden_size, inner, experts, active)
            nn.init.normal_(layer.mlp.router.weight, std=0.02)
        self.share = active / experts

    def count(self):
        """(total, activated) parameters, counted as Config.parameters counts them."""
        total = sum(p.numel() for p in self.parameters())
        experts = sum(layer.mlp.gate_up.numel() + layer.mlp.down.numel() for layer in self.model.layers)
        unused = self.model.embed_tokens.weight.numel() - self.config.hidden_size + round(experts * (1 - self.share))
        return total, total - unused
