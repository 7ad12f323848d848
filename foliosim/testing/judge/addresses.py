"""Addresses to ask about: mostly where something is mapped, some at every kind of edge, some where nothing can be."""
import numpy as np

_SHARES = {"entries": 0.6, "areas": 0.1, "edges": 0.05, "near": 0.12, "anywhere": 0.05, "tagged": 0.04,
           "impossible": 0.04}


def random_addresses(rng, areas, entries, names, n, page_size, va_bits):
    """Addresses for one address space.

    Parameters
    ----------
    rng : numpy.random.Generator
    areas : numpy.ndarray of uint64, shape (areas, 2)
        Start and end of each area.
    entries : numpy.ndarray of uint64, shape (entries, 2)
        Start and end of what each entry stands for that is not empty.
    names : numpy.ndarray of str, shape (entries,)
        Their kinds; rare ones are asked about more often than their number would make it.
    n : int
        How many.
    page_size, va_bits : int
        Bytes, bits.

    Returns
    -------
    numpy.ndarray of uint64, shape (n,)
        In random order: a byte of what an entry stands for; bytes of random areas; bytes before and behind starts and
        ends; bytes whose address differs from one in an area in its lower bits, up to a random one, so that walks end
        at every level; any that can be translated; addresses of areas with something in the top byte; any 64 bits.
    """
    parts = [int(n * share) for share in _SHARES.values()]
    parts[0] += n - sum(parts)
    of_entries, inside, edges, near, anywhere, tagged, impossible = parts
    both = np.concatenate([areas, entries])
    if not len(entries):
        entries, names = areas, np.zeros(len(areas))
    out = np.concatenate([
        _inside(rng, entries, of_entries, _rare_more(names)),
        _inside(rng, areas, inside, np.sqrt((areas[:, 1] - areas[:, 0]).astype(float))),
        rng.choice(both.reshape(-1), edges) + rng.integers(-2, 2, edges).astype(np.uint64),
        _near(rng, areas, near, page_size, va_bits),
        rng.integers(0, 1 << va_bits, anywhere, dtype=np.uint64),
        _inside(rng, areas, tagged) | rng.integers(0, 256, tagged, dtype=np.uint64) << np.uint64(56),
        rng.integers(0, 1 << 64, impossible, dtype=np.uint64),
    ])
    rng.shuffle(out)
    return out


def _rare_more(names):
    """Weights that give a kind a share by the root of its number."""
    _, kind, count = np.unique(names, return_inverse=True, return_counts=True)
    return 1 / np.sqrt(count[kind])


def _inside(rng, ranges, n, weights=None):
    """A random range, and a random byte of it."""
    chosen = ranges[rng.choice(len(ranges), n, p=None if weights is None else weights / weights.sum())]
    return chosen[:, 0] + (rng.random(n) * (chosen[:, 1] - chosen[:, 0])).astype(np.uint64)


def _near(rng, areas, n, page_size, va_bits):
    bits = rng.integers(page_size.bit_length() - 1, va_bits, n).astype(np.uint64)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    return _inside(rng, areas, n) & ~mask | rng.integers(0, 1 << 64, n, dtype=np.uint64) & mask
