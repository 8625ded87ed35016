"""One step of orthonormalisation, without orthogonality.

Only the diagonal of R in J_T ··· J_1 Q_0 = Q R is wanted, so what is carried from step to step need not be
orthogonal: any M with A = M U, U upper triangular, spans the same flag (the nested spaces of the leading columns) as Q
and gives the same R in the end, as long as M is well conditioned. LU with row pivoting gives such an M, a row-permuted
unit lower triangle, at a quarter of the price of QR; and where the rows of A differ in size by many orders of
magnitude, as behind saturated gates, it keeps the digits that Householder's QR loses.

Tangent vectors are rows here, as PyTorch's layers have it: an array [..., K, N] holds A transposed, which is what
LAPACK wants to be handed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Split(NamedTuple):
    """A = M U: `basis` is M (rows are its columns) and `log_diagonal` log |diag U|, −∞ where A is singular.

    `error` is the relative error to expect in each entry of the diagonal, ∞ for an entry that is zero; `condition`
    estimates that of M.
    """

    basis: Float[Tensor, "V B K N"]
    log_diagonal: Float[Tensor, "V B K"]
    error: Float[Tensor, "V B K"]
    condition: Float[Tensor, "V B"]


class Splitter:
    """LU with row pivoting of stacks of one shape, in buffers of its own."""

    def __init__(self, like: Float[Tensor, "V B K N"]):
        V, B, K, N = like.shape
        self.LU = torch.empty_like(like).mT
        self.P, self.scratch = like.new_empty(V, B, N, N), torch.empty_like(like)
        self.pivots, self.info = (torch.empty(*n, dtype=torch.int32, device=like.device) for n in ((V, B, K), (V, B)))
        self.unused = like.new_empty(0), like.new_empty(0)
        self.numbers = torch.arange(N, dtype=like.dtype, device=like.device)

    def __call__(self, trail: Sequence[Float[Tensor, "V B K N"]], out: Float[Tensor, "V B K N"]) -> Split:
        """Of the last of `trail`, which began at a well-conditioned basis and took one step from each to the next.

        M is written to `out`. The error of pivot i is judged after rows and columns of A have been scaled to the same
        size, which neither the pivots' relative errors nor the flag depend on:
        ε |column i| / |pivot i| × condition of L × max(N, 32) / 32; the last factor is what was measured, as rounding
        in LU grows. A column counts with the size that the step's largest stretch would have given it, because in a
        product that cancels, rounding is of the size of the terms.
        """
        A = trail[-1]
        (K, N), tiny, eps = A.shape[-2:], torch.finfo(A.dtype).tiny, torch.finfo(A.dtype).eps
        torch.linalg.lu_factor_ex(A.mT, out=(self.LU, self.pivots, self.info))
        torch.lu_unpack(self.LU, self.pivots, unpack_data=False, out=(self.P, *self.unused))
        row_of_L = (self.P @ self.numbers).long()
        diagonal = self.LU.diagonal(0, -2, -1).abs()

        start, first, before = (torch.linalg.vector_norm(D, dim=-1) for D in (trail[0], trail[1], trail[-2]))
        column = torch.linalg.vector_norm(A, dim=-1)
        weight = column.clamp(min=tiny**0.5) ** -2
        row = (weight[..., None, :] @ torch.mul(A, A, out=self.scratch))[..., 0, :].clamp(min=tiny).sqrt()
        row = torch.empty_like(row).scatter_(-1, row_of_L, row)[..., :K]
        L = self.LU[..., :K, :]
        solved = torch.linalg.solve_triangular(L, row[..., None], upper=False, unitriangular=True)[..., 0]
        condition = (solved / row).abs().amax(-1)
        column = torch.maximum(column, before * (first / start).amax(-1, keepdim=True))
        error = eps * column * row / diagonal * condition[..., None] * max(N, 32) / 32
        error = torch.where(diagonal > tiny / eps, error, torch.inf).nan_to_num(torch.inf, torch.inf)

        L = self.LU.mT.triu_(1)
        L.diagonal(0, -2, -1).fill_(1)
        torch.gather(L, -1, row_of_L[..., None, :].expand_as(L), out=out)
        return Split(out, diagonal.double().log(), error, condition)


def orthonormal(A: Float[Tensor, "... K N"]) -> tuple[Float[Tensor, "... K N"], Float[Tensor, "... K"]]:
    """A = Q R: Q (rows are its columns) and log |diag R|."""
    Q, R = torch.linalg.qr(A.mT)
    return Q.mT.contiguous(), R.diagonal(0, -2, -1).abs().double().log()


def log_diagonal(A: Float[Tensor, "... K N"]) -> Float[Tensor, "... K"]:
    """log |diag R|."""
    R = torch.linalg.qr(A.mT, mode="r").R
    return R.diagonal(0, -2, -1).abs().double().log()
