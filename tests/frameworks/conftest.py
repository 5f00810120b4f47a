from __future__ import annotations

import pytest


@pytest.fixture
def trusted(monkeypatch, tmp_path):
    """Give a function after which a client made without options finds an emulator."""

    def trust(server):
        certificate = tmp_path / "ca.pem"
        certificate.write_text(server._pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.base_url)

    return trust
