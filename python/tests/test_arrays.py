# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays of other libraries in and out by DLPack, `Module.run`, and runs beside other threads, on a bundle written by hand."""

import copy
import gc
import sys
import threading
import weakref

import numpy as np
import pytest
import torch

import bundle
import mohd
from mohd import dlpack
from mohd.weights import to_bf16

MEET = """
// Sets flag and waits for the other run's; y: whether it came.
void meet(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  volatile float *mine = bindings[0], *theirs = bindings[1]; float *y = bindings[2];
  mine[0] = 1;
  for (int64_t i = 0; i < 4000000000 && theirs[0] == 0; ++i) ;
  y[0] = theirs[0];
}
// y[i] = x[i] + z[i], w[i] = x[i] - z[i]
void both(void *const *bindings, const int64_t *params, int64_t begin, int64_t end) {
  const float *x = bindings[0], *z = bindings[1]; float *y = bindings[2], *w = bindings[3];
  for (int64_t i = begin; i < end; ++i) { y[i] = x[i] + z[i]; w[i] = x[i] - z[i]; }
}
"""


def with_more(code):
    """The manifest of `bundle` with the entry points "meet" and "both"."""
    manifest = bundle.manifest_of(code)
    flag, vector = lambda name, **more: bundle.tensor(name, "f32", 1, **more), lambda name: bundle.tensor(name, "f32", "T")
    manifest["entry_points"] += [
        {"name": "meet", "dims": [], "inputs": [flag("mine", mutable=True), flag("theirs")], "outputs": [flag("y")]},
        {"name": "both", "dims": ["T"], "inputs": [vector("x"), vector("z")], "outputs": [vector("y"), vector("w")]}]
    (target,) = manifest["targets"]
    target["kernels"] += [{"name": "meet", "bindings": 3, "params": 0}, {"name": "both", "bindings": 4, "params": 0}]
    target["programs"] += [
        {"entry": 2, "workspace": "0", "dispatches": [bundle.dispatch(2, "1", ("input", 0, "4"), ("input", 1, "4"), ("output", 0, "4"))]},
        {"entry": 3, "workspace": "0", "dispatches": [
            bundle.dispatch(3, "T", *((kind, i, "T*4") for kind in ("input", "output") for i in (0, 1)))]}]
    return manifest


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return mohd.load(bundle.write(tmp_path_factory.mktemp("bundle"), bundle.SOURCE + MEET, with_more), threads=1)


def test_run_by_place_and_by_name(module):
    x, z = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    outputs = module.run("both", x, z)
    assert outputs._fields == ("y", "w") and type(outputs.y) is np.ndarray
    np.testing.assert_array_equal(outputs.y, x + z)
    np.testing.assert_array_equal(outputs.w, x - z)
    for again in (module.run("both", z=z, x=x), module.run("both", x, z=z)):
        np.testing.assert_array_equal(again, outputs)
    total = mohd.zeros((1, 4), np.float32)
    np.testing.assert_array_equal(module.run("twice", x[None], total), 2 * x[None])  # one output: the array
    np.testing.assert_array_equal(total, x[None])


@pytest.mark.parametrize("arrays, named, message", [
    (3, "", r"expects at most 2 arrays for 'both' \(x, z\), got 3"),
    (1, "x", "expects each input of 'both' once, got x by place and by name"),
    (1, "", "expects inputs x, z, got x"),
    (2, "q", "expects inputs x, z, got x, z, q"),
    (0, "", "expects inputs x, z, got none"),
])
def test_run_names_what_is_wrong(module, arrays, named, message):
    one = np.ones(1, np.float32)
    with pytest.raises(TypeError, match=f"^{message}$"):
        module.run("both", *[one] * arrays, **{name: one for name in named})


def test_run_refuses_with_the_status(module):
    with pytest.raises(mohd.MohdError, match="no entry point 'thrice', there are twice, pick, meet, both") as caught:
        module.run("thrice")
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(mohd.MohdError, match="'z'") as caught:
        module.run("both", np.ones(3, np.float32), np.ones(2, np.float32))
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_module_runs_where_it_was_loaded_for(tmp_path):
    module = mohd.load(bundle.write(tmp_path, bundle.GPU_SOURCE, bundle.emulated), device="emulate")
    assert module.context().target == "emulate:sm_80"
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(module.run("twice", x, mohd.zeros((2, 4), np.float32)), 2 * x)


def test_each_thread_has_a_context_and_it_goes_with_the_module(tmp_path):
    module = mohd.load(bundle.write(tmp_path, bundle.SOURCE), threads=1)
    contexts, x = [], np.ones((2, 4), np.float32)

    def work():
        for _ in range(2):
            module.run("twice", x, mohd.zeros((2, 4), np.float32))
            contexts.append(weakref.ref(module._local.context))

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    here, again, there, _ = contexts
    assert here() is again() and here().threads == 1 and there() is None
    gone = weakref.ref(module)
    gc.disable()  # without its help, too
    try:
        del module
        assert gone() is None and here() is None
    finally:
        gc.enable()


def test_runs_let_other_threads_go_on(module):
    """A run that waits for what another thread does: it would never come if the run kept the interpreter."""
    mine, theirs = mohd.zeros(1, np.float32), mohd.zeros(1, np.float32)

    def answer():
        while not mine[0]:
            pass
        theirs[0] = 7

    thread = threading.Thread(target=answer)
    thread.start()
    assert module.run("meet", mine, theirs) == 7
    thread.join()


def test_contexts_run_at_the_same_time(module):
    """Two runs that wait for each other; and a context that is in use refuses."""
    flags, results = (mohd.zeros(1, np.float32), mohd.zeros(1, np.float32)), {}
    context = module.context()

    def meet():
        results["there"] = context.run("meet", {"mine": flags[0], "theirs": flags[1]})["y"]

    thread = threading.Thread(target=meet)
    thread.start()
    while not flags[0][0]:
        pass
    with pytest.raises(mohd.MohdError, match="INVALID_ARGUMENT.*context"):
        context.run("meet", {"mine": mohd.zeros(1, np.float32), "theirs": np.ones(1, np.float32)})
    results["here"] = module.run("meet", flags[1], flags[0])
    thread.join()
    assert results == {"here": 1, "there": 1}


class Legacy:
    """A maker of before DLPack 1.0."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, stream=None):
        return self.tensor.__dlpack__()


MAKERS = pytest.mark.parametrize("maker", [lambda tensor: tensor, Legacy], ids=["versioned", "legacy"])


@MAKERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int32, torch.int64, torch.uint16], ids=str)
def test_arrays_come_where_they_lie(maker, dtype):
    tensor = torch.arange(6).to(dtype).reshape(2, 3)
    array = dlpack.array_of(maker(tensor))
    assert array.ctypes.data == tensor.data_ptr() and array.flags.writeable and array.shape == (2, 3)
    assert isinstance(array, mohd.BFloat16Array) == (dtype == torch.bfloat16)
    expected = to_bf16(np.arange(6)).reshape(2, 3) if dtype == torch.bfloat16 else np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(dlpack.array_of(maker(tensor.T)), expected.T)  # strides
    assert dlpack.array_of(maker(tensor[:0])).shape == (0, 3)


@MAKERS
def test_torch_tensors_are_inputs_and_outputs(module, maker):
    x, total, y = torch.ones(3, 4), torch.zeros(3, 4), torch.empty(3, 4)
    context = module.context()
    assert context.run("twice", {"x": maker(x), "total": maker(total)}, {"y": y})["y"] is y
    assert (y == 2).all() and (total == 1).all()
    table = torch.tensor([1.5, -2, 3], dtype=torch.bfloat16)
    picked = module.run("pick", torch.tensor([2, 0], dtype=torch.int32), maker(table))
    assert torch.from_dlpack(picked).tolist() == [3, 1.5]
    strided = torch.arange(8.0).reshape(4, 2).T[:, :]  # copied
    np.testing.assert_array_equal(module.run("both", maker(strided[1]), maker(strided[0]))[1], np.ones(4))


def test_what_mutable_inputs_and_outputs_refuse(module):
    context, x = module.context(), np.ones((2, 4), np.float32)
    for bad in (torch.zeros(4, 2).T, torch.zeros(12)[1:9].reshape(2, 4)):
        with pytest.raises(TypeError, match="expects 'total' to be writeable, contiguous and 64-byte aligned"):
            context.run("twice", {"x": x, "total": bad})
        with pytest.raises(TypeError, match="expects output 'y' to be f32, writeable, contiguous"):
            context.run("twice", {"x": x, "total": mohd.zeros((2, 4), np.float32)}, {"y": bad})

    class ReadOnly:
        """Says by DLPack 1.0 that it is not to be written."""

        def __init__(self):
            self.array = mohd.zeros((2, 4), np.float32)
            self.array.flags.writeable = False

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __dlpack__(self, **request):
            return self.array.__dlpack__(**request)

    with pytest.raises(TypeError, match="expects 'total' to be writeable"):
        context.run("twice", {"x": ReadOnly(), "total": ReadOnly()})
    np.testing.assert_array_equal(context.run("twice", {"x": ReadOnly(), "total": torch.zeros(2, 4)})["y"], np.zeros((2, 4)))


class Elsewhere(Legacy):
    def __dlpack_device__(self):
        return (2, 1)


@pytest.mark.parametrize("array, message", [
    (torch.zeros(3, dtype=torch.float64), "expects 'x' to be f32, got float64"),
    (torch.zeros(3, dtype=torch.bfloat16), "expects 'x' to be f32, got bf16"),
    (torch.zeros(3, requires_grad=True), "'x': .*requires? grad"),
    (Elsewhere(torch.zeros(3)), "'x': expects an array in the memory of the host, got one on device 2:1 of DLPack"),
    (torch.zeros(3, dtype=torch.complex64), "expects 'x' to be f32, got complex64"),
])
def test_what_inputs_refuse(module, array, message):
    with pytest.raises(TypeError, match=message):
        module.run("both", array, np.zeros(3, np.float32))


class NoCapsule(Legacy):
    def __dlpack__(self, **request):
        return 5


def test_no_capsule():
    with pytest.raises(TypeError, match="expects a capsule of DLPack, got 5"):
        dlpack.array_of(NoCapsule(torch.zeros(3)))


@MAKERS
def test_arrays_of_others_live_as_long_as_they_are_used(maker):
    """The maker's memory goes when the last view of it has gone, once, and with capsules that nobody used."""
    owner = mohd.zeros((2, 4), "bf16")
    gone = weakref.ref(owner)
    array = dlpack.array_of(maker(owner))
    view = array[1:]
    del owner, array
    gc.collect()
    assert gone() is not None and (view == 0).all()
    del view
    gc.collect()
    assert gone() is None


def test_bfloat16_goes_out_where_it_lies(module):
    picked = module.run("pick", np.array([2, 0], np.int32), to_bf16(np.array([1.5, -2, 3])))
    assert picked.dtype == np.uint16 and isinstance(picked, mohd.BFloat16Array)
    for tensor in (torch.from_dlpack(picked), torch.from_dlpack(Legacy(picked)), torch.from_dlpack(mohd.empty((2,), "bf16"))):
        assert tensor.dtype == torch.bfloat16 and tensor.shape == (2,)
    tensor = torch.from_dlpack(picked)
    assert tensor.data_ptr() == picked.ctypes.data and tensor.tolist() == [3, 1.5]
    tensor[0] = -1
    assert picked[0] == to_bf16(np.array(-1.0))
    assert torch.from_dlpack(picked == picked).dtype == torch.bool
    before = sys.getrefcount(picked)
    unused, held = [picked.__dlpack__(), picked.__dlpack__(max_version=(1, 0))], torch.from_dlpack(picked)
    assert sys.getrefcount(picked) > before
    del unused, held
    assert sys.getrefcount(picked) == before


@pytest.mark.parametrize("dtype", ["f32", "bf16", "i64"])
def test_device_arrays_go_out_where_they_lie(module, dtype):
    context = module.context()
    array = context.empty((2, 3), dtype)
    array.write(np.zeros((2, 3), array.type))
    tensor = torch.from_dlpack(array)
    assert tensor.data_ptr() == array.data_ptr() and array.__dlpack_device__() == (1, 0)
    assert tensor.dtype == {"f32": torch.float32, "bf16": torch.bfloat16, "i64": torch.int64}[dtype]
    tensor[1, 2] = 1
    assert array.read()[1, 2] == (to_bf16(np.ones(())) if dtype == "bf16" else 1)
    part = torch.from_dlpack(array.part(0, (3,), dtype))
    gone = weakref.ref(array)
    del array
    assert gone() is not None and (part == 0).all()
    del tensor, part
    assert gone() is None
    assert torch.from_dlpack(context.empty((0, 3), dtype)).shape == (0, 3)
    with pytest.raises(BufferError, match="expects to give the array where it is, on device .1, 0. of DLPack, got a request for a copy"):
        context.empty((1,), dtype).__dlpack__(copy=True)
    with pytest.raises(TypeError, match="expects dtype to be one of f32, bf16, f16, f64, i8, i32, i64, got 'f8'"):
        context.empty((1,), "f8")


def test_copies_of_bfloat16_arrays_stay_so():
    array = mohd.zeros((2, 2), "bf16")
    assert all(torch.from_dlpack(made).dtype == torch.bfloat16 for made in (array[:1], array.T, copy.copy(array), array.reshape(4)))
