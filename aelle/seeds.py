"""Random generators keyed by their purpose: draws do not depend on their order."""

import hashlib

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """A counter-based generator (Philox) keyed by its purpose, so that draws are independent of their order."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def seed_for(*key: int | str) -> int:
    """A seed of 63 bits for one purpose, named by the key: `seed_for(variant.seeds["shuffle"], "noise", epoch)`."""
    return int(generator(*key).integers(2**63))


def sample(n: int, most: int, *key: int | str) -> np.ndarray:
    """All of n indices, or `most` of them drawn at random, ascending."""
    return np.arange(n) if n <= most else np.sort(generator("sample", *key).choice(n, most, replace=False))
