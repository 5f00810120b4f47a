"""What every handle store has to do, on a real server."""

from __future__ import annotations

import pytest
from resumekit_redis import RedisStore

from resumekit.plugins import installed_plugins
from resumekit.testing import HandleStoreConformance, LeaseConformance


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


def test_the_plugin_is_installed():
    (plugin,) = [plugin for plugin in installed_plugins() if plugin.name == "redis"]
    assert plugin.error is None
    assert plugin.hooks == ("provide_handle_store",)
