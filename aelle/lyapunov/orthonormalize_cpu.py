"""What `orthonormalize` computes before and after an LU, compiled for the CPU: each in one pass over the matrices.

Axes: n matrix of a batch, K tangent vector, N state dimension. Tangent vectors are rows, float32 or float64.
"""

import numpy as np

from aelle.lyapunov.compiled import compiled


@compiled
def sizes(A, column, row):
    """For A [n, K, N]: the length of each tangent vector, `column` [n, K], and the size of each dimension over all of
    them, scaled to the same length, `row` [n, N]."""
    one, tiny = A.dtype.type(1), A.dtype.type(np.finfo(A.dtype).tiny)
    for b in range(A.shape[0]):
        sizes = row[b]
        sizes[:] = 0
        for k in range(A.shape[1]):
            vector = A[b, k]
            square = A.dtype.type(0)
            for i in range(len(vector)):
                square += vector[i] * vector[i]
            column[b, k] = np.sqrt(square)
            weight = one / max(square, tiny)
            for i in range(len(vector)):
                sizes[i] += weight * vector[i] * vector[i]
        for i in range(len(sizes)):
            sizes[i] = np.sqrt(max(sizes[i], tiny))


@compiled
def unpack(LU, pivots, row, basis, diagonal, sizes, condition):
    """From LAPACK's LU [n, K, N] and `pivots` [n, K] of A transposed: the permuted unit lower triangle `basis`
    [n, K, N], |diag U| and the `sizes` of its rows, [n, K], and the largest entry of L⁻¹ with rows of one size [n]."""
    K, N = LU.shape[1:]
    order = np.empty(N, np.uint32)
    solved = np.empty(K, LU.dtype)
    for b in range(len(LU)):
        for i in range(N):
            order[i] = i
        for i in range(K):
            j = pivots[b, i] - 1
            if not i <= j < N:
                raise ValueError("LU gave a pivot outside of its matrix")
            order[i], order[j] = order[j], order[i]
        for k in range(K):
            solved[k] = sizes[b, k] = row[b, order[k]]
        most = LU.dtype.type(0)
        for k in range(K):
            diagonal[b, k] = abs(LU[b, k, k])
            x = solved[k]
            size = abs(x / sizes[b, k])
            # NaN counts as the largest value, as in torch.
            if not size <= most:
                most = size
            target = basis[b, k]
            target[:] = 0
            target[order[k]] = 1
            lower = LU[b, k]
            for i in range(k + 1, N):
                target[order[i]] = lower[i]
            for i in range(k + 1, K):
                solved[i] -= x * lower[i]
        condition[b] = most
