# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The binding of libmohd_rt, on a bundle written by hand."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import bundle
import mohd
from mohd import dlpack, find


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return bundle.write(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def module(path):
    return mohd.load(path)


def test_import_is_light():
    code = """if True:
        import sys, mohd
        maps = open("/proc/self/maps").read()
        assert not {"torch", "safetensors", "triton", "cuda"} & set(sys.modules)
        assert "cuda" not in maps and "nvidia" not in maps and "libmohd_rt" not in maps
        mohd.version()
        maps = open("/proc/self/maps").read()
        assert "libmohd_rt" in maps and "libcuda" not in maps"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(find.PACKAGE.parent)})


def test_version():
    assert "ABI 1" in mohd.version()


def test_module_describes_itself(path, module):
    assert list(module.entry_points) == ["twice", "pick"]
    twice = module.entry_points["twice"]
    assert [repr(t) for t in twice.inputs] == ["x: Tx4xf32", "total: Tx4xf32 mutable"]
    assert [repr(t) for t in module.entry_points["pick"].outputs] == ["y: Txbf16"]
    assert module.manifest["producer"]["name"] == "test"
    assert mohd.load(path.read_bytes()).manifest == module.manifest


@pytest.mark.parametrize("tokens", [0, 1, 17])
def test_run(module, tokens):
    x, total = np.arange(tokens * 4, dtype=np.float32).reshape(tokens, 4), mohd.zeros((tokens, 4), np.float32)
    y = module.context(threads=1).run("twice", {"x": x, "total": total})["y"]
    np.testing.assert_array_equal(y, 2 * x)
    np.testing.assert_array_equal(total, x)  # updated in place


def test_emulator(tmp_path, module):
    path = bundle.write(tmp_path, bundle.GPU_SOURCE, bundle.emulated)
    context = mohd.load(path).context(threads=2, device="emulate")
    assert context.target == "emulate:sm_80"
    x, total = np.arange(40, dtype=np.float32).reshape(10, 4), mohd.zeros((10, 4), np.float32)
    np.testing.assert_array_equal(context.run("twice", {"x": x, "total": total})["y"], 2 * x)
    np.testing.assert_array_equal(total, x)
    with pytest.raises(mohd.MohdError, match="no program for the entry point 'pick'"):
        context.run("pick", {"ids": np.zeros(1, np.int32), "table": np.zeros(1, np.uint16)})
    with pytest.raises(mohd.MohdError, match="the bundle has no emulate target"):
        module.context(device="emulate")
    wrong = bundle.write(tmp_path, bundle.GPU_SOURCE.replace("return;", ";"), bundle.emulated)
    with pytest.raises(mohd.MohdError, match="DEVICE: the emulator found 1 error: kernel 'twice', block .* load x: bounds"):
        mohd.load(wrong).context(device="emulate").run("twice", {"x": x, "total": total})


def test_cuda(monkeypatch, tmp_path, module):
    monkeypatch.setenv("MOHD_LIBCUDA", "/none/libcuda.so")
    with pytest.raises(mohd.MohdError, match="DEVICE: no CUDA driver: /none/libcuda.so"):
        module.context(device="cuda")
    fake = find.runtime().parent / "libmohd-fake-cuda-2.so"
    if not fake.exists():
        pytest.skip("the runtime's tests are not built")
    monkeypatch.setenv("MOHD_LIBCUDA", str(fake))
    with pytest.raises(mohd.MohdError, match="INCOMPATIBLE: the bundle has no cuda target"):
        module.context(device="cuda:1")
    context = mohd.load(bundle.write(tmp_path, bundle.GPU_SOURCE, bundle.on_cuda)).context(device="cuda:1")
    assert (context.target, context.threads) == ("cuda:sm_80", 1)
    x, total = mohd.zeros((10, 4), np.float32), mohd.zeros((10, 4), np.float32)
    call = context.bind("twice", {"x": x, "total": total})
    for step in (1, 2):  # arrays are read anew each time
        x[...] = step
        np.testing.assert_array_equal(call()["y"], 2 * x)
    np.testing.assert_array_equal(total, np.full((10, 4), 3))
    empty = np.zeros((0, 4), np.float32)
    assert context.run("twice", {"x": empty, "total": mohd.zeros((0, 4), np.float32)})["y"].shape == (0, 4)


class OfAnotherLibrary:
    """What has an array in a GPU's memory by another library's means."""

    def __init__(self, array):
        self.__cuda_array_interface__ = {"data": (array.data_ptr(), False), "shape": array.shape, "typestr": array.type.str, "version": 3}


def test_arrays_on_a_gpu_are_used_in_place(monkeypatch, tmp_path, module):
    fake = find.runtime().parent / "libmohd-fake-cuda-2.so"
    if not fake.exists():
        pytest.skip("the runtime's tests are not built")
    monkeypatch.setenv("MOHD_LIBCUDA", str(fake))
    assert mohd.device_info("cuda:1")["compute_major"] == 8
    context = mohd.load(bundle.write(tmp_path, bundle.GPU_SOURCE, bundle.on_cuda)).context(device="cuda:1")
    values = np.arange(40, dtype=np.float32).reshape(10, 4)
    x, total, y = (context.empty((10, 4), "f32").write(array) for array in (values, np.zeros_like(values), np.zeros_like(values)))
    assert context.run("twice", {"x": x, "total": total}, {"y": y}, stream=0)["y"] is y
    context.synchronize()
    np.testing.assert_array_equal(y.read(), 2 * values)
    np.testing.assert_array_equal(total.read(), values)
    on_host = context.run("twice", {"x": OfAnotherLibrary(x), "total": total})["y"]
    np.testing.assert_array_equal(on_host, 2 * values)
    whole = context.empty((64 + 160 + 64,), "i8").write(np.full(288, -1, np.int8))
    context.run("twice", {"x": x, "total": total}, {"y": whole.part(64, (10, 4), "f32")})
    context.synchronize()
    np.testing.assert_array_equal(whole.read()[64:-64].view(np.float32).reshape(10, 4), 2 * values)
    assert (whole.read()[:64] == -1).all() and (whole.read()[-64:] == -1).all()
    with pytest.raises(TypeError, match="expects 'x' to be f32, got f16"):
        context.bind("twice", {"x": context.empty((10, 4), "f16"), "total": total})
    with pytest.raises(TypeError, match="expects arrays of the host on cpu:"):
        module.context(1).bind("twice", {"x": OfAnotherLibrary(x), "total": mohd.zeros((10, 4), np.float32)})
    with pytest.raises(ValueError, match="expects a part of 288 bytes, got 200 to 360"):
        whole.part(200, (10, 4), "f32")
    array = context.empty((2, 3), "bf16")  # DLPack says where it is
    assert array.__dlpack_device__() == (2, 1)
    for request in ({}, {"max_version": (1, 0), "stream": -1, "dl_device": (2, 1), "copy": False}):
        capsule = array.__dlpack__(**request)
        tensor, _ = dlpack._tensor(capsule)
        assert (tensor.data, tensor.device_type, tensor.device_id, tensor.code, tensor.bits, tensor.ndim) == (array.data_ptr(), 2, 1, 4, 16, 2)
    with pytest.raises(BufferError, match=r"on device \(2, 1\) of DLPack, got a request for \(1, 0\)"):
        array.__dlpack__(dl_device=(1, 0))


def test_nothing_is_copied(module):
    x, total, y = mohd.empty((3, 4), np.float32), mohd.zeros((3, 4), np.float32), mohd.empty((3, 4), np.float32)
    x[...] = 1
    assert module.entry_points["twice"].inputs[0].accept(x) is x
    assert module.context(1).run("twice", {"x": x, "total": total}, {"y": y})["y"] is y
    assert (y == 2).all()


def test_a_bound_call_reads_its_arrays_each_time(module):
    x, total = mohd.zeros((2, 4), np.float32), mohd.zeros((2, 4), np.float32)
    call = module.context(1).bind("twice", {"x": x, "total": total})
    for value in (1, 3):
        x[...] = value
        assert (call()["y"] == 2 * value).all()
    assert (total == 4).all()  # updated by both calls


def test_bfloat16_is_bits(module):
    table, ids = np.array([1, 2, 3], np.uint16), np.array([2, 0], np.int32)
    assert module.context().run("pick", {"ids": ids, "table": table})["y"].tolist() == [3, 1]


@pytest.mark.parametrize("ids", [[3], [-1]])
def test_index_out_of_range(module, ids):
    with pytest.raises(mohd.MohdError, match="ids") as caught:
        module.context().run("pick", {"ids": np.array(ids, np.int32), "table": np.zeros(3, np.uint16)})
    assert caught.value.status == "OUT_OF_RANGE"


def test_wrong_arguments(module):
    context, x, total = module.context(), np.zeros((2, 4), np.float32), mohd.zeros((2, 4), np.float32)
    with pytest.raises(TypeError, match="expects 'x' to be f32, got float64"):
        context.run("twice", {"x": x.astype(float), "total": total})
    with pytest.raises(TypeError, match="expects inputs x, total, got x"):
        context.run("twice", {"x": x})
    with pytest.raises(TypeError, match="expects outputs y, got z"):
        context.run("twice", {"x": x, "total": total}, {"z": x})
    with pytest.raises(TypeError, match="expects 'total' to be writeable"):
        context.run("twice", {"x": x, "total": mohd.zeros((2, 5), np.float32)[:, 1:]})
    with pytest.raises(TypeError, match="expects output 'y' to be f32, writeable"):
        context.run("twice", {"x": x, "total": total}, {"y": np.zeros((2, 4))})
    with pytest.raises(TypeError, match="at most 8 dims, got 9"):
        context.run("twice", {"x": np.zeros((1,) * 9, np.float32), "total": total})
    with pytest.raises(mohd.MohdError, match="x") as caught:
        context.run("twice", {"x": np.zeros((2, 5), np.float32), "total": total})
    assert caught.value.status == "INVALID_ARGUMENT"
    with pytest.raises(mohd.MohdError, match="no entry point 'thrice', there are twice, pick"):
        context.run("thrice", {})


def test_a_generator_needs_a_language_model(module):
    message = "^UNSUPPORTED: expects a bundle of a language model, got entry points twice, pick$"
    with pytest.raises(mohd.MohdError, match=message) as caught:
        mohd.Generator(module, 1, 4)
    assert caught.value.status == "UNSUPPORTED"
    with pytest.raises(mohd.MohdError, match=message):
        module.generate([1, 2], 3)


def test_bad_bundles(tmp_path, path):
    with pytest.raises(mohd.MohdError) as caught:
        mohd.load(tmp_path / "none.mohdb")
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(mohd.MohdError) as caught:
        mohd.load(path.read_bytes()[:-1])
    assert caught.value.status == "MALFORMED"
    with pytest.raises(mohd.MohdError) as caught:
        mohd.load(path, flags=mohd.Module.NO_HOST_CODE)
    assert caught.value.status == "UNSUPPORTED"


def test_contexts_in_threads_agree(module):
    x = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    results = [None] * 8

    def work(i):
        context = module.context(1)
        results[i] = context.run("twice", {"x": x, "total": mohd.zeros((500, 4), np.float32)})["y"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((result == 2 * x).all() for result in results)


def test_library_not_found(monkeypatch, tmp_path):
    monkeypatch.setenv("MOHD_RUNTIME", str(tmp_path / "none.so"))
    mohd.binding.library.cache_clear()
    with pytest.raises(mohd.MohdError, match="set MOHD_RUNTIME"):
        mohd.version()
