"""Seeds made from keys: what is random depends on names of things, not on when they are drawn."""

from hashlib import blake2b


def seed_from(*key: int) -> int:
    """A 63-bit seed that depends on every number of `key`."""
    digest = blake2b(",".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
