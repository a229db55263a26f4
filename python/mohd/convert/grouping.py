# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which dims are shared and which form a group, from what is known about each dim and each pair. NumPy, deterministic.

A router keeps a token's best groups, so groups should differ as much as possible between tokens: dims are put together so
that the sum of the covariances of their activity within groups, which is the variance of the groups' activity, is large.
"""

import numpy as np

SWEEPS = 10
"""Most passes over all dims that look for a better exchange."""


def grown(affinity, count):
    """Labels [D] of a first clustering of D dims into `count` equal groups, by their affinities [D, D].

    A group begins with the free dim that has most positive affinity to free dims, and takes the one with most affinity to it.
    """
    dims = len(affinity)
    positive = np.maximum(affinity, 0)
    free, wanted, labels = np.ones(dims, bool), positive.sum(1), np.zeros(dims, np.int64)
    for group in range(count):
        toward = wanted
        for taken in range(dims // count):
            pick = int(np.argmax(np.where(free, toward, -np.inf)))
            labels[pick], free[pick] = group, False
            wanted = wanted - positive[pick]
            toward = affinity[pick].copy() if taken == 0 else toward + affinity[pick]
    return labels


def improved(affinity, labels, count):
    """Labels after exchanges of two dims, each the best for the first one, that enlarge the affinity within groups."""
    labels = labels.copy()
    belongs = np.zeros((len(labels), count))
    belongs[np.arange(len(labels)), labels] = 1
    toward = affinity @ belongs  # [D, count]
    least = 1e-9 * np.abs(affinity).max()
    for _ in range(SWEEPS):
        before = labels.copy()
        for dim, group in enumerate(before):
            group = labels[dim]
            own = toward[np.arange(len(labels)), labels]
            gain = toward[dim, labels] + toward[:, group] - 2 * affinity[dim] - toward[dim, group] - own
            gain[labels == group] = 0
            other = int(np.argmax(gain))
            if gain[other] > least:
                moved = affinity[other] - affinity[dim]
                toward[:, group] += moved
                toward[:, labels[other]] -= moved
                labels[dim], labels[other] = labels[other], group
        if (labels == before).all():
            break
    return labels


def clustered(affinity, count):
    """Labels [D] of D dims in `count` equal groups; affinity [D, D] is symmetric, its diagonal does not matter."""
    if count in (0, 1, len(affinity)):
        return np.arange(len(affinity)) // max(1, len(affinity) // max(1, count))
    affinity = affinity.astype(np.float64)
    np.fill_diagonal(affinity, 0)
    return improved(affinity, grown(affinity, count), count)


def order_of(activity, affinity, groups, shared):
    """int64 [D]: the dims in their new order, by activity [D] and affinity [D, D].

    The most active ones fill the `shared` first of the equal `groups`; of the others those with affinity are put together, the groups and the
    dims within a group in descending order of activity. Equal ones keep their order.
    """
    width = len(activity) // groups
    ranked = np.argsort(-activity, kind="stable")
    rest = np.sort(ranked[shared * width :])
    labels = clustered(affinity[np.ix_(rest, rest)], groups - shared)
    members = [rest[labels == label] for label in range(groups - shared)]
    members.sort(key=lambda dims: -activity[dims].sum())
    within = [dims[np.argsort(-activity[dims], kind="stable")] for dims in members]
    return np.concatenate([ranked[: shared * width], *within]).astype(np.int64)
