# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The configuration of a MoHD model: `config.json` as docs/formats.md describes it, without any framework."""

import dataclasses
import math
import pathlib
import warnings

from mohd.fields import choice, field, flag, integer, number, read_object, section, shown

MISSING = dataclasses.MISSING

VALUES = {
    "gate": ("softmax", "shared_one", "renormalized", "binary"),
    "scaling": ("sqrt_nk_over_mass", "n_times_mass", "k_over_mass", "sqrt_n_over_k", "n_over_k", "none"),
    "score": ("softmax_all", "softmax_routed", "sigmoid"),
    "fusion": ("monarch", "block_diagonal", "none"),
    "balance": ("deepseek", "switch", "none"),
    "axis": ("residual", "ffn_inner"),
    "norm_stat": ("full", "active"),
}
"""Every attribute of semantics.md with its values, the default first."""

IGNORED_KEYS = {
    "architectures", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
    "initializer_range", "attention_dropout", "pretraining_tp", "attention_bias", "mlp_bias", "rope_scaling",
    "model_type", "mohd", "hidden_act",
}
"""Top-level keys of config.json that are checked elsewhere or change nothing."""


@dataclasses.dataclass(frozen=True)
class Routing:
    """The `mohd` block: N groups, K_s shared, K_r routed for each token, and the attributes of semantics.md."""

    num_groups: int = integer(MISSING, 1)
    num_shared: int = integer(MISSING, 0)
    num_routed: int = integer(MISSING, 0)
    gate: str = choice("softmax", *VALUES["gate"])
    scaling: str = choice("sqrt_nk_over_mass", *VALUES["scaling"])
    score: str = choice("softmax_all", *VALUES["score"])
    fusion: str = choice("monarch", *VALUES["fusion"])
    balance: str = choice("deepseek", *VALUES["balance"])
    balance_coefficient: float = number(0.01, 0)
    axis: str = choice("residual", *VALUES["axis"])
    norm_stat: str = choice("full", *VALUES["norm_stat"])

    def __post_init__(self):
        for name, values in VALUES.items():
            if getattr(self, name) not in values:
                raise ValueError(f"expects {name} to be one of {', '.join(values)}, got '{getattr(self, name)}'")
        if self.num_shared < 0 or self.num_routed < 0 or not 1 <= self.num_active <= self.num_groups:
            raise ValueError(
                f"expects 1 <= num_shared + num_routed <= num_groups, got {self.num_shared} + {self.num_routed} "
                f"and {self.num_groups}"
            )
        if self.gate == "shared_one" and self.scaling == "n_times_mass":
            raise ValueError("expects a scaling other than n_times_mass with gate shared_one")
        if self.axis == "ffn_inner" and self.norm_stat == "active":
            raise ValueError("expects norm_stat full with axis ffn_inner, whose groups are not groups of the norm")

    @staticmethod
    def from_dict(values):
        """Reads the object `mohd` of a config.json."""
        return section(Routing, {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values, "mohd.", {})

    @property
    def num_active(self):
        """K = K_s + K_r."""
        return self.num_shared + self.num_routed

    @property
    def needs_scores(self):
        """Whether the routing depends on scores, that is, whether there is a router."""
        return self.num_routed > 0 or self.gate == "softmax"

    @property
    def is_dense(self):
        """Whether a sub-layer routed this way is the dense one."""
        return (self.num_groups, self.gate, self.scaling, self.fusion) == (self.num_active, "binary", "none", "none")


@dataclasses.dataclass(frozen=True)
class Config:
    """A LLaMA-style decoder; `mohd` is None for a dense one."""

    hidden_size: int = integer(MISSING, 1, 2**20)
    intermediate_size: int = integer(MISSING, 1, 2**22)
    num_hidden_layers: int = integer(MISSING, 1, 512)
    num_attention_heads: int = integer(MISSING, 1, 2**20)
    vocab_size: int = integer(MISSING, 1, 2**24)
    max_position_embeddings: int = integer(MISSING, 1, 2**24)
    num_key_value_heads: int = integer(0, 1, 2**20)
    head_dim: int = field(0, int, lambda value: 2 <= value <= 4096 and value % 2 == 0, "an even integer from 2 to 4096")
    rms_norm_eps: float = field(1e-5, float, lambda value: 0 < value <= 1, "a number above 0 and at most 1")
    rope_theta: float = number(10000.0, 0, open_low=True)
    tie_word_embeddings: bool = flag(False)
    torch_dtype: str = choice("float32", "float32", "bfloat16", "float16", "float64")
    tokenizer: str | None = choice(None, "bytes")
    mohd: Routing | None = None

    def __post_init__(self):
        if not self.num_key_value_heads:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            if self.hidden_size % (2 * self.num_attention_heads):
                raise ValueError(f"expects hidden_size to be an even multiple of num_attention_heads {self.num_attention_heads}, or a head_dim, got {self.hidden_size}")
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"expects num_attention_heads to be a multiple of num_key_value_heads {self.num_key_value_heads}, "
                f"got {self.num_attention_heads}"
            )
        if self.mohd and self.routed_width % self.mohd.num_groups:
            raise ValueError(
                f"expects the routed width to be a multiple of num_groups {self.mohd.num_groups}, "
                f"got {self.routed_width}"
            )

    @property
    def routed_width(self):
        """The width that is cut into groups: D, or d_ff with axis ffn_inner."""
        return self.intermediate_size if self.mohd.axis == "ffn_inner" else self.hidden_size

    def routing(self, part):
        """The routing of sub-layer `part` ("self_attn" or "mlp"), or None where it is dense."""
        if self.mohd is None or self.mohd.is_dense:
            return None
        return None if self.mohd.axis == "ffn_inner" and part == "self_attn" else self.mohd

    @staticmethod
    def from_dict(values):
        """Reads the object of a config.json. Unknown keys warn; unknown keys inside `mohd`, and wrong values, raise ValueError."""
        values = {key: value for key, value in values.items() if value is not None}  # null is absent
        kind = values.get("model_type")
        if kind not in ("mohd", "llama") or (kind == "mohd") != ("mohd" in values):
            raise ValueError(f"expects model_type 'mohd' with a mohd block or 'llama' without, got '{kind}'")
        for key, only in {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rope_scaling": None}.items():
            if values.get(key, only) != only:
                raise ValueError(f"expects {key} to be {only}, got {values[key]}")
        fields = {key.name for key in dataclasses.fields(Config)}
        for key in values.keys() - fields - IGNORED_KEYS:
            warnings.warn(f"config.json: unknown key '{key}'")
        return section(Config, {key: value for key, value in values.items() if key in fields}, "", {"mohd": Routing.from_dict})

    @staticmethod
    def load(folder, unsupported=()):
        """Reads `folder`/config.json; ValueError with its path where it is none. Keys that are `unsupported` must be absent."""
        path = pathlib.Path(folder) / "config.json"
        values = read_object(path)
        try:
            for key in unsupported:
                if values.get(key) is not None:
                    help = ", write rope_theta" if key == "rope_parameters" else ""
                    raise ValueError(f"expects no {key}, which would change what is computed{help}; got {shown(values[key])}")
            return Config.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_dict(self):
        """The object to write as config.json."""
        out = {"model_type": "mohd" if self.mohd else "llama", "hidden_act": "silu"}
        out.update(dataclasses.asdict(self))
        if not self.mohd:
            del out["mohd"]
        if self.tokenizer is None:
            del out["tokenizer"]
        return out

    def tensor_shapes(self):
        """Every weight of the model by name, with its shape, as the table of docs/formats.md lists them."""
        d, v, ff = self.hidden_size, self.vocab_size, self.intermediate_size
        heads, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        shapes = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (v, d)
        for i in range(self.num_hidden_layers):
            layer = {
                "input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
                "self_attn.q_proj.weight": (heads, d), "self_attn.k_proj.weight": (kv, d),
                "self_attn.v_proj.weight": (kv, d), "self_attn.o_proj.weight": (d, heads),
                "mlp.up_proj.weight": (ff, d), "mlp.down_proj.weight": (d, ff),
            }
            if not (self.mohd and self.mohd.axis == "ffn_inner"):
                layer["mlp.gate_proj.weight"] = (ff, d)
            for part in ("self_attn", "mlp"):
                layer.update({f"{part}.{k}": s for k, s in self._routing_shapes(part).items()})
            shapes.update({f"model.layers.{i}.{k}": s for k, s in layer.items()})
        return shapes

    def _routing_shapes(self, part):
        """Router and fusion weights of one sub-layer, empty where it is dense."""
        routing = self.routing(part)
        if routing is None:
            return {}
        n, width = routing.num_groups, self.routed_width // routing.num_groups
        shapes = {}
        if routing.needs_scores:
            shapes["router.weight"] = (n, self.hidden_size)
        if routing.fusion != "none":
            shapes["fusion.right"] = (n, width, width)
        if routing.fusion == "monarch":
            shapes["fusion.left"] = (width, n, n)
        if routing.fusion == "block_diagonal" and routing.axis == "ffn_inner":
            shapes["fusion.bias"] = (self.intermediate_size,)
        return shapes

    def parameters(self):
        """(total, activated) parameters; activated are those that one token's output depends on.

        Of the embedding table a token uses one row; of a routed projection, its active groups; of the fusion, the
        blocks (or columns) of its active groups; routers, norms and the LM head are used whole.
        """
        total = active = 0
        for name, shape in self.tensor_shapes().items():
            size = math.prod(shape)
            total += size
            active += size * self._active_share(name)
        if self.tie_word_embeddings:
            active += self.vocab_size * self.hidden_size
        return total, round(active)

    def _active_share(self, name):
        """The share of weight `name` that one token uses."""
        if name == "model.embed_tokens.weight":
            return 1 / self.vocab_size
        part = "self_attn" if ".self_attn." in name else "mlp" if ".mlp." in name else None
        routing = self.routing(part) if part else None
        if routing is None or name.endswith("router.weight") or name.endswith("fusion.bias"):
            return 1
        if routing.axis == "ffn_inner" and name.endswith("down_proj.weight") and routing.fusion != "none":
            return 1  # the fusion has filled every group again
        return routing.num_active / routing.num_groups
