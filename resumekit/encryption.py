"""Encryption at rest, for every handle store: `EncryptedStore` seals what a store keeps.

AES-256-GCM, by the package `cryptography` (the extra ``encryption``). The name of the conversation is
bound to each record, so that one cannot be put in the place of another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence

from msgspec.structs import replace

from resumekit._extras import install
from resumekit.errors import ConfigurationError
from resumekit.stores import SEALED, UNREADABLE, Claim, Entry, HandleStore

__all__ = ["EncryptedStore"]

_NONCE = 12
_KEY_ID = 4
_TAG = 16
_CONTEXT = b"resumekit handle 1\0"


class EncryptedStore:
    """A handle store whose records only those can read who have the key.

    ```python
    store = EncryptedStore("redis://localhost/0", key=os.environ["HANDLE_KEY"])
    async with resumable.connect(client, model=MODEL, key="call 4711", store=store) as session:
        ...
    ```

    To change the key, give the new one as `key` and the old one as `previous`: what is read with the old one is
    written with the new one. After a day, the longest that handles are valid, the old one can go.

    Args:
        store: The store that keeps the records, or its URL.
        key: 32 bytes, or their base64 text, as `new_key` makes it.
        previous: Older keys, which can still be read with.
        accept_plain: Also take records that were kept before there was a key.

    Raises:
        ConfigurationError: A key is none, or `cryptography` is not installed.
    """

    def __init__(
        self,
        store: HandleStore | str,
        key: bytes | str,
        *,
        previous: Sequence[bytes | str] = (),
        accept_plain: bool = False,
    ) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ConfigurationError(
                f"EncryptedStore needs the package cryptography, which is not installed; {install('encryption')}"
            ) from error
        self._invalid = InvalidTag
        keys = [_key(one) for one in (key, *previous)]
        self._ciphers = {_key_id(one): AESGCM(one) for one in keys}
        self._current = _key_id(keys[0])
        self._accept_plain = accept_plain
        self.inner = store
        """What keeps the records."""

    @staticmethod
    def new_key() -> str:
        """Return a new random key, as text."""
        return base64.urlsafe_b64encode(os.urandom(32)).decode()

    def over(self, store: HandleStore) -> EncryptedStore:
        """Return the same over another store."""
        other = object.__new__(EncryptedStore)
        other.__dict__.update(self.__dict__, inner=store)
        return other

    async def claim(self, key: str, owner: str, seconds: float, *, force: bool = False) -> Claim:
        """See `HandleStore`.

        Raises:
            ConfigurationError: The record was sealed with a key that is not given here; it stays as it is.
        """
        inner = self._inner
        claim = await inner.claim(key, owner, seconds, force=force)
        if claim.entry is None or not claim.entry.data:
            return claim
        try:
            return replace(claim, entry=replace(claim.entry, data=self._open(key, claim.entry.data)))
        except ConfigurationError:
            await inner.release(key, claim.fence)
            raise

    async def renew(self, key: str, fence: int, seconds: float) -> bool:
        """See `HandleStore`."""
        return await self._inner.renew(key, fence, seconds)

    async def save(self, key: str, fence: int, entry: Entry) -> bool:
        """See `HandleStore`."""
        if not entry.data:
            return await self._inner.save(key, fence, entry)
        nonce = os.urandom(_NONCE)
        text = self._ciphers[self._current].encrypt(nonce, entry.data, _CONTEXT + key.encode())
        return await self._inner.save(key, fence, replace(entry, data=SEALED + self._current + nonce + text))

    async def release(self, key: str, fence: int) -> None:
        """See `HandleStore`."""
        await self._inner.release(key, fence)

    async def close(self) -> None:
        """See `HandleStore`."""
        await self._inner.close()

    @property
    def _inner(self) -> HandleStore:
        if isinstance(self.inner, str):
            raise ConfigurationError("this EncryptedStore was given a URL: give it to connect(), which opens the store")
        return self.inner

    def _open(self, key: str, data: bytes) -> bytes:
        if not data.startswith(SEALED):
            if self._accept_plain:
                return data
            raise ConfigurationError(
                "the record of this conversation is not encrypted; EncryptedStore(..., accept_plain=True) takes it"
            )
        data = data[len(SEALED) :]
        if len(data) < _KEY_ID + _NONCE + _TAG:
            return UNREADABLE + b"it was cut off"
        cipher = self._ciphers.get(data[:_KEY_ID])
        if cipher is None:
            ours = ", ".join(key_id.hex() for key_id in self._ciphers)
            raise ConfigurationError(
                f"the record of this conversation was encrypted with another key (id {data[:_KEY_ID].hex()}, given:"
                f" {ours}); give the old one as EncryptedStore(..., previous=[...])"
            )
        try:
            return cipher.decrypt(data[_KEY_ID : _KEY_ID + _NONCE], data[_KEY_ID + _NONCE :], _CONTEXT + key.encode())
        except (self._invalid, ValueError):
            return UNREADABLE + b"it was changed, or put in the place of another, after it was encrypted"

    def __repr__(self) -> str:
        inner = "URL" if isinstance(self.inner, str) else repr(self.inner)  # a URL may hold a password
        return f"EncryptedStore({inner})"


def _key(key: bytes | str) -> bytes:
    raw = key
    if isinstance(key, str):
        try:
            raw = base64.b64decode(key.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if not isinstance(raw, bytes) or len(raw) != 32:
        raise ConfigurationError("a key of an EncryptedStore is 32 bytes, or their base64 text; see new_key()")
    return raw


def _key_id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_KEY_ID, person=b"resumekit").digest()
