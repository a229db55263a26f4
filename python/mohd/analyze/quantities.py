# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What tokens use of a vector of activations: the definitions of docs/analysis.md in NumPy.

Shapes: T tokens in sequences that follow each other, D dims. `first` is bool [T], true where a sequence begins; `kept` is bool [T], false for
tokens that count nowhere: rows of zeros, which have no largest dims, and rows with a NaN or an infinity. What no token is left for is None.
"""

import math

import numpy as np

SHARES = (0.5, 0.9, 0.99)
"""The shares of a token's energy whose dims are counted."""

BLOCK = 1 << 22
"""Elements of a float64 array that are worked on at a time."""


def blocks(count, width):
    """Slices of `count` rows of `width` elements, about BLOCK elements each."""
    step = max(1, BLOCK // max(1, width))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def spread(values):
    """Mean, 10 %, 50 % and 90 % quantiles of values [n], each None if there are none."""
    if len(values) == 0:
        return dict.fromkeys(("mean", "p10", "p50", "p90"))
    low, middle, high = np.percentile(values, (10, 50, 90))
    return {"mean": float(np.mean(values)), "p10": float(low), "p50": float(middle), "p90": float(high)}


def ratio(part, whole):
    """part / whole as a float, None if whole is 0."""
    return float(part / whole) if whole else None


def number_of_top(width, share):
    """m: how many of `width` dims are a token's top dims, at least one."""
    return min(width, max(1, round(width * share)))


def kinds(x):
    """(kept, zero, not finite), each bool [T], of x [T, D]: which rows count, and why the others do not."""
    finite = np.isfinite(x).all(1)
    zero = finite & ~x.any(1)
    return finite & ~zero, zero, ~finite


def dims_of_energy(descending, shares=SHARES):
    """The least numbers of dims, int [T, len(shares)], that have at least these shares of a row's energy.

    `descending` is |x| [T, D] with each row's largest first. Sums are float64; a share counts as reached within D roundings, so that equal dims
    count exactly.
    """
    energy = np.cumsum(np.square(descending, dtype=np.float64), axis=1)
    slack = 1 - descending.shape[1] * np.finfo(np.float64).eps
    wanted = energy[:, -1:] * (np.asarray(shares) * slack)
    return np.stack([(energy < wanted[:, i : i + 1]).sum(1) + 1 for i in range(len(shares))], 1)


def top_dims(magnitude, least):
    """Whether each dim is among the m largest of its row, bool [T, D]; `least` [T, m] has these m. Equal ones: lowest index first."""
    m = least.shape[1]
    bound = least[:, -1:]
    above, equal = magnitude > bound, magnitude == bound
    return above | (equal & (np.cumsum(equal, axis=1) <= m - above.sum(1, keepdims=True)))


def flow(packed, kept, first, width, m):
    """(overlap [pairs], starts int [D]) of top dims, packed bits [T, ceil(D / 8)], in the order in which they come.

    A pair is a token with the one before in its sequence, both kept. `overlap` is the share of its m top dims that the one before has too; `starts`
    are the times that a dim is active where it was not before, that is, its runs.
    """
    linked = kept.copy()
    linked[1:] &= kept[:-1]
    linked &= ~first
    starts, new = np.zeros(width, np.int64), np.zeros(len(packed), np.int64)
    for rows in blocks(len(packed), width):
        before = packed[np.maximum(np.arange(rows.start, rows.stop) - 1, 0)] * linked[rows, None].astype(np.uint8)
        begun = np.unpackbits(packed[rows] & ~before, axis=1, count=width)
        starts += begun.sum(0, dtype=np.int64)
        new[rows] = begun.sum(1, dtype=np.int64)
    return 1 - new[linked] / m, starts


class Activations:
    """Statistics of one site: rows [., D] go in by `add`, in order; `result` has the quantities of docs/analysis.md.

    Of each row only its D top bits and three numbers are kept.
    """

    def __init__(self, width, top=0.1):
        self.width, self.m = width, number_of_top(width, top)
        self.kept, self.packed, self.counts = [], [], []
        self.zero = self.not_finite = 0
        self.uses = np.zeros(width, np.int64)  # tokens that have the dim among their top ones
        self.energy = np.zeros(width)  # sum over tokens of the dim's share of the token's energy

    def add(self, x):
        """Takes the next rows x [., D]."""
        for rows in blocks(len(x), self.width):
            self._add(np.asarray(x[rows], np.float32))

    def _add(self, x):
        kept, zero, not_finite = kinds(x)
        self.kept.append(kept)
        self.zero, self.not_finite = self.zero + int(zero.sum()), self.not_finite + int(not_finite.sum())
        magnitude = np.abs(x[kept])
        descending = np.sort(magnitude, axis=1)[:, ::-1]
        active = top_dims(magnitude, descending[:, : self.m])
        packed = np.zeros((len(x), -(-self.width // 8)), np.uint8)
        packed[kept] = np.packbits(active, axis=1)
        self.packed.append(packed)
        self.counts.append(dims_of_energy(descending))
        self.uses += active.sum(0)
        energy = np.square(magnitude, dtype=np.float64)
        self.energy += (energy / energy.sum(1, keepdims=True)).sum(0)

    def arrays(self):
        """(kept [T], packed top dims [T, ceil(D / 8)]) of all rows so far."""
        if not self.kept:
            return np.zeros(0, bool), np.zeros((0, -(-self.width // 8)), np.uint8)
        return np.concatenate(self.kept), np.concatenate(self.packed)

    def result(self, first, seed=0, shared=0.5, specialised=0.05):
        """The quantities, of tokens that are cut into sequences where `first` [T] says so.

        `shared` and `specialised` are the shares of tokens from which on a dim is shared, and below which it is specialised.
        """
        kept, packed = self.arrays()
        tokens = int(kept.sum())
        used = self.uses / max(1, tokens)
        classes = {"shared": (used >= shared) & (tokens > 0), "specialised": (self.uses > 0) & (used < specialised)}
        overlap, starts = flow(packed, kept, first, self.width, self.m)
        order = np.random.default_rng(seed).permutation(len(kept))
        control, control_starts = flow(packed[order], kept[order], first, self.width, self.m)
        run = lambda starts, dims: ratio(self.uses[dims].sum(), starts[dims].sum())
        everything = np.ones(self.width, bool)
        dims = np.concatenate(self.counts) / self.width if self.counts else np.zeros((0, len(SHARES)))
        return {
            "dims": self.width, "top": self.m, "tokens": tokens, "zero": self.zero, "not_finite": self.not_finite,
            "energy": {f"{100 * share:g}": spread(dims[:, i]) for i, share in enumerate(SHARES)},
            "overlap": {"consecutive": spread(overlap), "shuffled": spread(control), "uniform": self.m / self.width,
                        "expected": ratio((self.uses * (self.uses - 1)).sum(), tokens * (tokens - 1) * self.m)},
            "run_length": {"all": run(starts, everything), "shuffled": run(control_starts, everything)}
            | {name: run(starts, which) for name, which in classes.items()},
            "shared": {"count": int(classes["shared"].sum()), "energy": ratio(self.energy[classes["shared"]].sum(), tokens),
                       "dims": np.flatnonzero(classes["shared"]).tolist()},
            "specialised": {"count": int(classes["specialised"].sum()), "energy": ratio(self.energy[classes["specialised"]].sum(), tokens),
                            "dims": np.flatnonzero(classes["specialised"]).tolist()},
            "never": int((self.uses == 0).sum()) if tokens else None,
        }


def picture(packed, uses, tokens=128, dims=120):
    """(dims, active): at most so many dims, and which of them are active at the first tokens, by packed bits [T, ceil(D / 8)].

    Dims are in the order of their `uses` [D], the most used first, at even distances. `active` is a list of tokens, each a list of places in `dims`.
    """
    width, order = len(uses), np.argsort(-uses, kind="stable")
    chosen = order[np.linspace(0, width - 1, min(width, dims)).round().astype(int)]
    bits = np.unpackbits(packed[:tokens], axis=1, count=width)[:, chosen]
    return chosen.tolist(), [np.flatnonzero(row).tolist() for row in bits]


def entropy(shares):
    """Entropy in bits of shares [..., n], which are scaled to the sum 1; 0 log 0 = 0."""
    shares = np.asarray(shares, np.float64)
    shares = shares / shares.sum(-1, keepdims=True)
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(-1) + 0.0  # no -0


def common_groups(routing):
    """The groups 0..n-1 that every token has: the shared ones, or all N if all are active (`RoutingType::getNumCommon`)."""
    return routing.num_groups if routing.num_active == routing.num_groups else routing.num_shared


def bucket_order(indices, routing):
    """The tokens, int [T], in the order of the plan `bucket`, of active groups `indices` [T, K].

    As lib/Conversion/MoHDToGpu/BucketOrder.cpp: a stable counting sort by the first chosen group, or, if more than one is chosen and pairs make at
    most 1024 keys, by the first two, the second running back and forth so that neighbouring keys share a group. Further groups do not count.
    """
    common = common_groups(routing)
    candidates = routing.num_groups - common
    chosen = np.asarray(indices, np.int64)[:, common:] - common
    if chosen.shape[1] == 0:
        return np.arange(len(indices))
    key = chosen[:, 0]
    if chosen.shape[1] > 1 and candidates * candidates <= 1024:
        key = key * candidates + np.where(key % 2 == 1, candidates - 1 - chosen[:, 1], chosen[:, 1])
    return np.argsort(key, kind="stable")


def membership(indices, num_groups):
    """Whether each token has each group, bool [T, N], of indices [T, K]."""
    has = np.zeros((len(indices), num_groups), bool)
    has[np.arange(len(indices))[:, None], indices] = True
    return has


def executed(has, rows):
    """Group-products that tiles of `rows` tokens execute, of has [T, N]: `rows` times the groups of their union, the last tile too."""
    if len(has) == 0:
        return 0
    union = np.logical_or.reduceat(has, np.arange(0, len(has), rows), axis=0)
    return rows * int(union.sum())


def coverage(indices, routing, rows, tokens):
    """How well tiles of `rows` tokens do in calls of `tokens` tokens: the calls are cut from indices [T, K], what is left over is left out.

    `coverage`: useful group-products over executed ones, in bucket order; `unordered`: in the tokens' own order; `of_dense`: executed ones in bucket
    order over those of a dense product on the same tiles. None if there is not one call.
    """
    useful = done = unordered = dense = 0
    for begin in range(0, len(indices) - tokens + 1, tokens):
        call = np.asarray(indices)[begin : begin + tokens]
        has = membership(call, routing.num_groups)
        useful += call.size
        done += executed(has[bucket_order(call, routing)], rows)
        unordered += executed(has, rows)
        dense += -(-tokens // rows) * rows * routing.num_groups
    return {"coverage": ratio(useful, done), "unordered": ratio(useful, unordered), "of_dense": ratio(done, dense)}


class Routings:
    """Statistics of one router: what it chose and its scores go in by `add`, in order."""

    def __init__(self, routing):
        self.routing = routing
        self.routed = routing.num_groups - routing.num_shared
        self.indices, self.kept = [], []
        self.scores = np.zeros(self.routed)  # sum over tokens of the routed groups' scores, scaled to the sum 1
        self.entropy = 0.0

    def add(self, indices, scores):
        """Takes the next tokens' indices [., K] and scores [., N]. A token with a score that is not finite counts nowhere."""
        scores = np.asarray(scores, np.float64)
        kept = np.isfinite(scores).all(1)
        self.indices.append(np.asarray(indices)[kept])
        self.kept.append(kept)
        if self.routing.num_routed:
            scores = scores[kept, self.routing.num_shared :]
            scores[scores.sum(1) == 0] = 1  # too small for their type: as good as even
            self.scores += (scores / scores.sum(1, keepdims=True)).sum(0)
            self.entropy += float(entropy(scores).sum())

    def result(self, first, seed=0, tile_rows=(64, 128), calls=(256, 1024, 4096, 16384)):
        """The quantities of docs/analysis.md, of tokens that are cut into sequences where `first` [T] says so."""
        routing, kept = self.routing, np.concatenate(self.kept)
        indices, tokens = np.concatenate(self.indices), int(kept.sum())
        out = {"groups": routing.num_groups, "shared": routing.num_shared, "routed": routing.num_routed,
               "tokens": tokens, "not_finite": len(kept) - tokens}
        has = membership(indices, routing.num_groups)
        out["use"] = (has.sum(0) / tokens).tolist() if tokens else None
        if routing.num_routed == 0 or tokens == 0:
            return out | dict.fromkeys(("balance", "load", "use_entropy", "score_entropy", "sets", "kept", "bucket"))
        count = has[:, routing.num_shared :].sum(0)
        share, most = count / count.sum(), math.log2(self.routed)
        out["balance"] = float(self.routed * (share * self.scores / tokens).sum())
        out["load"] = float(count.max() / count.mean())
        out["use_entropy"] = {"bits": float(entropy(share)), "most": most, "share": float(entropy(share) / most) if most else 1.0}
        mean = self.entropy / tokens
        out["score_entropy"] = {"bits": mean, "most": most, "share": mean / most if most else 1.0}
        out["sets"] = self._sets(indices[:, routing.num_shared :])
        out["kept"] = self._kept(kept, first, seed)
        out["bucket"] = self._bucket(indices, tile_rows, calls)
        return out

    def _sets(self, chosen):
        """The sets of routed groups [T, K_r] that were seen, the most common ones first."""
        seen, counts = np.unique(chosen, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        cover = np.cumsum(counts[order]) / len(chosen)
        bits = float(entropy(counts))
        return {
            "seen": len(seen), "possible": math.comb(self.routed, self.routing.num_routed),
            "for_90_percent": int((cover < 0.9 - 1e-12).sum()) + 1,
            "effective": 2**bits, "most_common": [{"groups": seen[i].tolist(), "share": float(counts[i] / len(chosen))} for i in order[:5]],
        }

    def _kept(self, kept, first, seed):
        """The mean share of routed groups that a token has in common with the one before, and the same of shuffled tokens."""
        chosen = np.zeros((len(kept), self.routed), bool)
        chosen[kept] = membership(np.concatenate(self.indices), self.routing.num_groups)[:, self.routing.num_shared :]
        packed, order = np.packbits(chosen, axis=1), np.random.default_rng(seed).permutation(len(kept))
        mean = lambda order: spread(flow(packed[order], kept[order], first, self.routed, self.routing.num_routed)[0])["mean"]
        return {"consecutive": mean(np.arange(len(kept))), "shuffled": mean(order)}

    def _bucket(self, indices, tile_rows, calls):
        """Coverage for each tile height and size of call, None where every token has the same groups and the plan is `dense`."""
        if common_groups(self.routing) == self.routing.num_groups:
            return None
        sizes = [size for size in calls if size <= len(indices)] or [len(indices)]
        return [{"tile_rows": rows, "tokens": size} | coverage(indices, self.routing, rows, size) for rows in tile_rows for size in sizes]
