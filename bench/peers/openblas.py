# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NumPy with its OpenBLAS: dense, a loop over groups with gather, GEMM and scatter, and a GEMM for each set of tokens of equal routing.

What depends on the routing (which tokens have a group) is found anew in every call, as the compiled op does.
"""

import ctypes
import glob
import os

import numpy as np

MOST_SETS = 64
"""More sets of equal routing than this are not tried: each copies its weights."""


def _library():
    """NumPy's own OpenBLAS, or None if it has another BLAS."""
    found = glob.glob(os.path.join(os.path.dirname(np.__file__), os.pardir, "numpy.libs", "*openblas*.so"))
    return ctypes.CDLL(found[0]) if found else None


def set_threads(count):
    """Sets OpenBLAS's number of threads."""
    library = _library()
    if library:
        library.scipy_openblas_set_num_threads64_(count)


def describe():
    """Version and the kernels it has chosen for this CPU."""
    library = _library()
    if not library:
        return "not OpenBLAS"
    library.scipy_openblas_get_config64_.restype = library.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
    config, core = library.scipy_openblas_get_config64_(), library.scipy_openblas_get_corename64_()
    return f"{' '.join(config.decode().split()[:2])}, {core.decode()} kernels, NumPy {np.__version__}"


def _by_group(indices, shared, n):
    """(group, tokens, slots) of each routed group that has tokens."""
    routed = indices.shape[1] - shared
    flat = indices[:, shared:].reshape(-1)
    order = np.argsort(flat, kind="stable")
    ends = np.searchsorted(flat[order], np.arange(shared, n + 1))
    for group in range(shared, n):
        places = order[ends[group - shared] : ends[group - shared + 1]]
        if len(places):
            yield group, places // routed, shared + places % routed


def spmm_groups(p, w):
    """The shared groups as one product, then each routed group's tokens; w: [N, d_e, E]."""
    width, shared = p.group_width, p.groups[1]
    if shared:
        scaled = (p.x[:, : shared * width].reshape(p.tokens, shared, width) * p.gates[:, :shared, None]).reshape(p.tokens, -1)
        y = scaled @ w[:shared].reshape(shared * width, -1)
    else:
        y = np.zeros((p.tokens, p.inner), np.float32)
    for group, tokens, slots in _by_group(p.indices, shared, p.n) if p.groups[2] else ():
        part = p.x[tokens, group * width : (group + 1) * width] * p.gates[tokens, slots, None]
        y[tokens] += part @ w[group]
    return y


def sddmm_groups(p, w):
    """The same on the output side; w: [N * d_e, E]."""
    width, shared = p.group_width, p.groups[1]
    y = np.zeros((p.tokens, p.width), np.float32)
    if shared:
        y[:, : shared * width] = p.x @ w[: shared * width].T
    for group, tokens, _ in _by_group(p.indices, shared, p.n) if p.groups[2] else ():
        part = slice(group * width, (group + 1) * width)
        y[tokens, part] = p.x[tokens] @ w[part].T
    return y


def _sets(indices):
    """(active groups, tokens) of each set of tokens with the same routing."""
    unique, inverse = np.unique(indices, axis=0, return_inverse=True)
    for number, groups in enumerate(unique):
        yield groups, np.nonzero(inverse.reshape(-1) == number)[0]


def spmm_sets(p, w):
    """One product for each set, its weights gathered; w: [N, d_e, E]."""
    y = np.empty((p.tokens, p.inner), np.float32)
    blocks = p.x.reshape(p.tokens, p.n, -1)
    for groups, tokens in _sets(p.indices):
        part = blocks[tokens[:, None], groups] * p.gates[tokens, :, None]
        y[tokens] = part.reshape(len(tokens), -1) @ w[groups].reshape(-1, p.inner)
    return y


def sddmm_sets(p, w):
    """The same on the output side; w: [N * d_e, E]."""
    y = np.zeros((p.tokens, p.n, p.group_width), np.float32)
    blocks = w.reshape(p.n, p.group_width, -1)
    for groups, tokens in _sets(p.indices):
        product = p.x[tokens] @ blocks[groups].reshape(-1, p.inner).T
        y[tokens[:, None], groups] = product.reshape(len(tokens), len(groups), -1)
    return y.reshape(p.tokens, p.width)


def variants(p):
    """{name: (form of the weight, whether it reads all of it, function of problem and weight)}."""
    found = {
        "openblas dense": ("rows", True, lambda p, w: p.x @ w),
        "openblas dense (transposed)": ("columns", True, lambda p, w: p.x @ w.T),
    }
    if p.is_routed:
        found["openblas groups"] = (
            ("rows", False, lambda p, w: spmm_groups(p, w.reshape(p.n, p.group_width, -1))) if p.op == "spmm"
            else ("columns", False, sddmm_groups))
        if len(np.unique(p.indices, axis=0)) <= MOST_SETS:
            found["openblas sets"] = (
                ("rows", False, lambda p, w: spmm_sets(p, w.reshape(p.n, p.group_width, -1))) if p.op == "spmm"
                else ("columns", False, sddmm_sets))
    return found
