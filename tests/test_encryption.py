"""Encryption at rest: nobody reads a record without the key, moves it to another conversation, or loses it by mistake."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from resumekit.defaults import MemoryStore
from resumekit.encryption import EncryptedStore
from resumekit.errors import ConfigurationError
from resumekit.stores import UNREADABLE
from resumekit.testing import HandleStoreConformance, LeaseConformance

KEY = EncryptedStore.new_key()
CASE = HandleStoreConformance()


class Encrypted:
    INNER = MemoryStore()

    def make_store(self):
        return EncryptedStore(self.INNER, KEY)


class TestEncryptedStore(Encrypted, HandleStoreConformance):
    pass


class TestLeasesOfEncryptedStore(Encrypted, LeaseConformance):
    pass


async def save(store, text="CANARY", key="k"):
    claim = await store.claim(key, "me", 60.0, force=True)
    assert await store.save(key, claim.fence, CASE.make_entry(text))
    await store.release(key, claim.fence)


async def load(store, key="k"):
    claim = await store.claim(key, "me", 60.0)
    await store.release(key, claim.fence)
    return claim.entry and claim.entry.data.decode()


async def test_the_store_never_sees_what_it_keeps():
    inner = MemoryStore()
    store = EncryptedStore(inner, KEY)
    await save(store)
    first = inner._rows["k"].entry.data
    await save(store)

    assert b"CANARY" not in first
    assert inner._rows["k"].entry.data != first, "nor whether it is the same"
    assert await load(store) == "CANARY"


async def test_another_key_is_an_error_and_the_record_stays():
    inner = MemoryStore()
    await save(EncryptedStore(inner, KEY))
    kept = inner._rows["k"].entry

    with pytest.raises(
        ConfigurationError, match=r"encrypted with another key \(id .{8}, given: .{8}\); give the old one"
    ):
        await load(EncryptedStore(inner, EncryptedStore.new_key()))
    assert inner._rows["k"].entry is kept
    assert inner._rows["k"].until == 0, "and free for who has the key"
    assert await load(EncryptedStore(inner, KEY)) == "CANARY"


async def test_a_key_is_changed_with_the_old_one_at_hand():
    inner, new = MemoryStore(), EncryptedStore.new_key()
    await save(EncryptedStore(inner, KEY))
    store = EncryptedStore(inner, new, previous=[KEY])
    assert await load(store) == "CANARY"
    await save(store, "newer")

    assert await load(EncryptedStore(inner, new)) == "newer"
    with pytest.raises(ConfigurationError):
        await load(EncryptedStore(inner, KEY))


@pytest.mark.parametrize("harm", ["another conversation's", "cut", "changed"])
async def test_a_record_that_was_tampered_with_reads_as_damaged(harm):
    inner = MemoryStore()
    store = EncryptedStore(inner, KEY)
    await save(store)
    await save(store, "theirs", key="other")
    data = inner._rows["k"].entry.data
    changed = {
        "another conversation's": inner._rows["other"].entry.data,
        "cut": data[:20],
        "changed": data[:-1] + bytes([data[-1] ^ 1]),
    }
    await save(inner, "x")
    inner._rows["k"].entry = inner._rows["k"].entry.__class__(
        data=changed[harm], sequence=1, expires_at=inner._rows["k"].entry.expires_at
    )

    assert (await load(store)).encode().startswith(UNREADABLE)
    assert await load(store, "other") == "theirs"


async def test_records_from_before_are_taken_only_if_one_says_so():
    inner = MemoryStore()
    await save(inner, "{}")

    with pytest.raises(
        ConfigurationError, match=r"is not encrypted; EncryptedStore\(\.\.\., accept_plain=True\) takes it"
    ):
        await load(EncryptedStore(inner, KEY))
    assert await load(EncryptedStore(inner, KEY, accept_plain=True)) == "{}"


@pytest.mark.parametrize("key", ["", "abc", b"short", "ä" * 32, b"\0" * 31, None, "A" * 42])
def test_what_is_no_key(key):
    with pytest.raises(ConfigurationError, match=r"a key of an EncryptedStore is 32 bytes, or their base64 text"):
        EncryptedStore(MemoryStore(), key)


async def test_keys_as_text_and_bytes_with_both_alphabets():
    raw = b"\xff\xfe\xfd\xfb" * 8
    inner = MemoryStore()
    await save(EncryptedStore(inner, raw))

    assert "_" in base64.urlsafe_b64encode(raw).decode()
    assert await load(EncryptedStore(inner, base64.urlsafe_b64encode(raw).decode())) == "CANARY"
    assert await load(EncryptedStore(inner, base64.b64encode(raw).decode() + "\n")) == "CANARY"
    assert EncryptedStore.new_key() != EncryptedStore.new_key()


async def test_its_repr_shows_neither_key_nor_url():
    store = EncryptedStore("redis://user:password@host", KEY)

    assert repr(store) == "EncryptedStore(URL)"
    with pytest.raises(ConfigurationError, match=r"give it to connect\(\), which opens the store"):
        await store.close()


def test_without_the_package_the_error_names_what_to_install():
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from resumekit.encryption import EncryptedStore\n"
        "try: EncryptedStore('memory://', b'0' * 32)\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.stdout == (
        "EncryptedStore needs the package cryptography, which is not installed; "
        "install the extra 'encryption' (from a clone: pip install '.[encryption]')\n"
    )
