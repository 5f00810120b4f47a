"""What every store has to do."""

from __future__ import annotations

import pytest
from resumekit_postgres import provide_handle_store

from resumekit.testing import HandleStoreConformance, LeaseConformance


class TestKeeping(HandleStoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.url = server.url()

    def make_store(self):
        return provide_handle_store(self.url)


class TestLeases(LeaseConformance):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.url = server.url()

    def make_store(self):
        return provide_handle_store(self.url)


class TestWithoutPreparedStatements(HandleStoreConformance):
    """As behind a pooler."""

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.url = server.url(more="&statement_cache_size=0&pool_size=1")

    def make_store(self):
        return provide_handle_store(self.url)
