"""What every handle store and every backend of pools has to do, on a real server."""

from __future__ import annotations

import pytest
from resumekit_redis import RedisPoolBackend, RedisStore

from resumekit.plugins import installed_plugins
from resumekit.testing import HandleStoreConformance, LeaseConformance, PoolConformance


class OnValkey:
    @pytest.fixture(autouse=True)
    def _server(self, shared):
        self.url = shared.url

    def make_store(self):
        return RedisStore(self.url)


class TestRedisStore(OnValkey, HandleStoreConformance):
    pass


class TestLeasesOfRedisStore(OnValkey, LeaseConformance):
    pass


class TestPoolsOfRedisPoolBackend(OnValkey, PoolConformance):
    def make_backend(self):
        return RedisPoolBackend(self.url)


def test_the_plugin_is_installed():
    (plugin,) = [plugin for plugin in installed_plugins() if plugin.name == "redis"]
    assert plugin.error is None
    assert plugin.hooks == ("provide_handle_store", "provide_pool_backend")
