# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""config.json: what is read, what is refused, and the parameter counts."""

import numpy as np
import pytest

from cases import SIZES, config_of
from mohd import weights
from mohd.config import Config, Routing

MOHD = {"num_groups": 4, "num_shared": 1, "num_routed": 2}


def test_round_trip():
    for routing in (None, Routing(4, 1, 2, gate="binary", axis="ffn_inner")):
        config = config_of(routing, tokenizer="bytes")
        assert Config.from_dict(config.to_dict()) == config


def test_defaults_of_llama_keys():
    config = Config.from_dict({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                               "num_attention_heads": 4, "vocab_size": 9, "max_position_embeddings": 8})
    assert (config.head_dim, config.num_key_value_heads, config.rms_norm_eps, config.rope_theta) == (8, 4, 1e-5, 1e4)


@pytest.mark.parametrize("change,message", [
    ({"model_type": "gpt2"}, "got 'gpt2'"),
    ({"model_type": "llama"}, "expects model_type"),
    ({"hidden_act": "gelu"}, "expects hidden_act to be silu"),
    ({"attention_bias": True}, "expects attention_bias"),
    ({"mohd": MOHD | {"gate": "tanh"}}, 'expects mohd.gate to be one of softmax, .*, got "tanh"'),
    ({"mohd": MOHD | {"num_routed": 4}}, "<= num_groups"),
    ({"mohd": MOHD | {"num_groups": 5}}, "multiple of num_groups 5, got 32"),
    ({"mohd": MOHD | {"gate": "shared_one", "scaling": "n_times_mass"}}, "other than n_times_mass"),
    ({"mohd": MOHD | {"axis": "ffn_inner", "norm_stat": "active"}}, "expects norm_stat full"),
    ({"num_key_value_heads": 3}, "multiple of num_key_value_heads 3"),
    ({"hidden_size": 1.5}, "expects hidden_size to be an integer from 1 to 1048576, got 1.5$"),
    ({"hidden_size": True}, "got true$"),
    ({"hidden_size": "32"}, 'got "32"$'),
    ({"hidden_size": 2**40}, "got 1099511627776$"),
    ({"hidden_size": None}, "expects a value for hidden_size$"),
    ({"num_attention_heads": -4}, "expects num_attention_heads to be an integer from 1 to 1048576, got -4$"),
    ({"num_attention_heads": 0}, "got 0$"),
    ({"num_key_value_heads": -2}, "expects num_key_value_heads to be an integer from 1 to 1048576, got -2$"),
    ({"num_hidden_layers": 10**30}, "expects num_hidden_layers to be an integer from 1 to 512, got 10*$"),
    ({"max_position_embeddings": 0}, "expects max_position_embeddings to be an integer from 1 to 16777216, got 0$"),
    ({"head_dim": 7}, "expects head_dim to be an even integer from 2 to 4096, got 7$"),
    ({"num_attention_heads": 3, "head_dim": None}, "expects hidden_size to be an even multiple of num_attention_heads 3, or a head_dim, got 32$"),
    ({"rms_norm_eps": "x"}, 'expects rms_norm_eps to be a number above 0 and at most 1, got "x"$'),
    ({"rms_norm_eps": 0}, "got 0.0$"),
    ({"rope_theta": float("inf")}, "expects rope_theta to be a number above 0, got Infinity$"),
    ({"rope_theta": float("nan")}, "got NaN$"),
    ({"rope_theta": 10**400}, r"got 10*\.\.\.$"),
    ({"tie_word_embeddings": 1}, "expects tie_word_embeddings to be true or false, got 1$"),
    ({"torch_dtype": "int8"}, 'expects torch_dtype to be one of float32, bfloat16, float16, float64, got "int8"$'),
    ({"tokenizer": "words"}, 'expects tokenizer to be one of bytes, got "words"$'),
    ({"mohd": 3}, "expects mohd to be an object, got 3$"),
    ({"mohd": []}, r"expects mohd to be an object, got \[\]$"),
    ({"mohd": MOHD | {"num_groups": "4"}}, 'expects mohd.num_groups to be an integer of at least 1, got "4"$'),
    ({"mohd": MOHD | {"num_shared": -1}}, "expects mohd.num_shared to be an integer of at least 0, got -1$"),
    ({"mohd": MOHD | {"num_groups": None}}, "expects a value for mohd.num_groups$"),
    ({"mohd": MOHD | {"gate": ["softmax"]}}, r'expects mohd.gate to be one of softmax, .*, got \["softmax"\]$'),
    ({"mohd": MOHD | {"balance_coefficient": "x"}}, 'expects mohd.balance_coefficient to be a number of at least 0, got "x"$'),
    ({"mohd": MOHD | {"colour": 1}}, r"expects the keys axis, .*, got 'mohd\.colour'$"),
])
def test_bad_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config.from_dict({"model_type": "mohd", "mohd": MOHD, **SIZES} | change)


@pytest.mark.parametrize("text,message", [
    ("{", "expects JSON, got: "), ("[" * 100000, "expects JSON, got: "), ("\ufeff{}", "expects JSON, got: "), ("[1]", r"expects an object, got \[1\]$"),
    ('{"model_type": "llama", "hidden_size": -1}', "expects hidden_size to be an integer from 1 to 1048576, got -1$"),
])
def test_bad_files_are_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path}/config.json: {message}"):
        Config.load(tmp_path)


def test_null_is_absent():
    values = config_of(Routing(4, 1, 2)).to_dict()
    values["mohd"]["gate"] = values["tokenizer"] = values["rope_scaling"] = values["head_dim"] = None
    assert Config.from_dict(values) == config_of(Routing(4, 1, 2))
    del values["mohd"]
    assert Config.from_dict(values | {"model_type": "llama", "mohd": None}) == config_of(None)


def test_unknown_keys():
    with pytest.warns(UserWarning, match="unknown key 'colour'"):
        Config.from_dict({"model_type": "mohd", "mohd": MOHD, "colour": 1, **SIZES})


@pytest.mark.parametrize("hidden,inner,millions", [(1024, 2560, 354.99), (1536, 1536, 494.74), (2048, 4096, 1137.81)])
def test_dense_presets_have_the_published_sizes(hidden, inner, millions):
    config = Config(hidden, inner, 24, hidden // 128, 32000, 2048, head_dim=128)
    assert config.parameters()[0] / 1e6 == pytest.approx(millions, abs=0.005)


def test_activated_parameters():
    # one layer of 4 groups, 1 + 1 active: half of every projection, fusion block and column; one embedding row
    config = Config(8, 6, 1, 2, 10, 16, mohd=Routing(4, 1, 1))
    projections, fusion, router = 8 * (4 * 8 + 3 * 6), 2 * (4 * 2 * 2 + 2 * 4 * 4), 2 * 4 * 8
    assert config.parameters() == (
        projections + fusion + router + 3 * 8 + 2 * 80, projections // 2 + fusion // 2 + router + 3 * 8 + 80 + 8)


@pytest.mark.parametrize("fusion,down", [("block_diagonal", 32), ("none", 16)])
def test_activated_parameters_of_ffn_inner(fusion, down):
    dense = Config(8, 4, 1, 2, 10, 16).parameters()[1] - 3 * 32  # without the FFN
    routing = Routing(2, 1, 0, gate="binary", fusion=fusion, axis="ffn_inner")
    extra = 4 + 4 if fusion != "none" else 0  # half of 2 blocks of 2 x 2, and the bias
    assert Config(8, 4, 1, 2, 10, 16, mohd=routing).parameters()[1] == dense + 16 + down + extra


def test_bf16_conversion_rounds_to_nearest_even():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1.5, np.inf, 3.4e38, np.nan, 0.0], np.float32)
    back = weights.from_bf16(weights.to_bf16(values))
    np.testing.assert_array_equal(back, np.array([1, 1, 1 + 2**-6, -1.5, np.inf, np.inf, np.nan, 0], np.float32))
