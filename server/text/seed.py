"""A seed from words: the same words always make the same take. Knows no engine."""

from __future__ import annotations

import hashlib

from server.contract.http import MAX_SEED


def seed_from(words: str) -> int:
    """0 to MAX_SEED: the first 32 bits of the words' SHA-256. Lone surrogates count as they are written.

    Recordings that exist depend on these values; tests/text/test_seed.py holds three of them.
    """
    digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) % (MAX_SEED + 1)
