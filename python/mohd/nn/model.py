# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The MoHD language model as a PyTorch module, and its files in Hugging Face layout."""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.checkpoint import checkpoint

from mohd import weights
from mohd.config import Config
from mohd.files import replace_file, replace_text
from mohd.nn import functional
from mohd.nn.modules import Decoder


class MoHDForCausalLM(nn.Module):
    """The language model; `state_dict()` has exactly the tensors of docs/formats.md.

    `backend` is `reference` (plain PyTorch) or `compiled` (`mohd.ops`). With `checkpointing` set, the backward pass
    computes each layer again instead of keeping its activations.
    """

    def __init__(self, config: Config, backend="reference"):
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.model = Decoder(config, backend)
        self._balance = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def new_cache(self):
        """An empty key-value cache for `forward`."""
        return [[] for _ in self.model.layers]

    def forward(self, tokens, cache=None):
        """Logits [B, S, V] of tokens [B, S], which follow those already in `cache`."""
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens.flatten())  # [T, D]
        losses = []
        for i, layer in enumerate(self.model.layers):
            if self.checkpointing and torch.is_grad_enabled():
                x, loss = checkpoint(layer, x, length, None, use_reentrant=False)
            else:
                x, loss = layer(x, length, None if cache is None else cache[i])
            losses.append(loss)
        self._balance = sum(losses)
        head = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return functional.linear(self.model.norm(x).view(*tokens.shape, x.shape[1]), head.weight)

    def sub_layers(self):
        """Every attention and FFN."""
        return [part for layer in self.model.layers for part in (layer.self_attn, layer.mlp)]

    def balance_loss(self):
        """The sum of all routers' balance losses at the last forward, a scalar."""
        if self._balance is None:
            raise RuntimeError("expects a forward before balance_loss")
        return self._balance

    @staticmethod
    def from_pretrained(folder, dtype=torch.float32, backend="reference"):
        """The model in `folder` (one file or shards) with its weights converted to `dtype`, in evaluation mode."""
        model = MoHDForCausalLM(Config.load(folder), backend).to(dtype)
        tensors = {}
        for path in weights.files(folder):
            tensors.update(load_file(path))
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()})
        return model.eval()

    def save_pretrained(self, folder, dtype=None):
        """Writes config.json and model.safetensors into `folder`, the weights rounded to `dtype` (default: as they are)."""
        save_weights(self.config, self.state_dict(), folder, dtype or next(self.parameters()).dtype)


def save_weights(config, tensors, folder, dtype):
    """Writes the model of these `tensors` by name, rounded to `dtype`, into `folder`. Each file appears whole."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {name: tensor.detach().to(dtype).contiguous() for name, tensor in tensors.items()}
    replace_file(folder / "model.safetensors", lambda path: save_file(rounded, path, metadata={"format": "pt"}))
    (folder / weights.INDEX).unlink(missing_ok=True)  # of shards that were here before
    values = config.to_dict() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    replace_text(folder / "config.json", json.dumps(values, indent=2) + "\n")
