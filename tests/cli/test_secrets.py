"""What the commands print, and what they end with, holds no key, token or password."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys

import pytest

from resumekit.adapters import websockets
from resumekit.cli import main
from resumekit.emulator import Fault
from tests.adapters.support import policy
from tests.adapters.test_websockets import SETUP, ask
from tests.cli.probing import probe
from tests.emulator.helpers import PATHS
from tests.secrets import API_KEY, TOKEN, chain, leaks, watched

PROXY = f"http://user:{API_KEY}@127.0.0.1:9"
VARIABLES = {
    "GOOGLE_API_KEY": API_KEY,
    "GEMINI_API_KEY": API_KEY,
    "HTTPS_PROXY": PROXY,
    "ALL_PROXY": PROXY,
    "SSL_CERT_FILE": f"/nowhere/{TOKEN}.pem",
    "CALLS_STORE": f"redis://user:{API_KEY}@127.0.0.1:9/0",
    "GOOGLE_GEMINI_BASE_URL": f"https://user:{API_KEY}@127.0.0.1:9/below?key={API_KEY}&access_token={TOKEN}",
}
BROKEN = {
    "raises": f"raise RuntimeError('no connection with key={API_KEY}')",
    "is no config": f"thing = {{'model': 'm', 'api_key': {API_KEY!r}}}.items()",
    "is a config": f"thing = {{'model': 'gemini-2.5-flash-live', 'api_key': {API_KEY!r}}}",
}


@pytest.fixture
def told(monkeypatch, capfd, tmp_path):
    """Run a command; return all that it told, its end included."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        end = []
        with watched(everybody=True):
            try:
                end.append(f"exit {main(arguments)}")
            except BaseException as error:  # argparse ends with SystemExit
                end += chain(error)
        out, err = capfd.readouterr()
        assert out or err
        return [out, err, *end]

    return run


DOCTOR = {
    "alone": (),
    "json": ("--json",),
    "probe": ("--probe", "--yes", "--only", "setup"),
    "probe that is not confirmed": ("--probe",),
    "policy without a probe": ("--policy", f"/nowhere/{TOKEN}"),
    "store in a variable": ("--store", "CALLS_STORE"),
    "store": ("--store", f"postgresql://user:{API_KEY}@127.0.0.1:9/db"),
    "store without a scheme": ("--store", f"user:{API_KEY}@127.0.0.1"),
}


@pytest.mark.parametrize("case", DOCTOR)
def test_doctor_tells_no_secret(case, told):
    found = told("doctor", *DOCTOR[case])
    expected = {TOKEN} if "without a probe" in case else set()
    assert not leaks(found, {API_KEY, TOKEN} - expected)


@pytest.mark.parametrize("case", BROKEN)
def test_doctor_tells_no_secret_of_an_application(case, told, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = f"app_that_{case.replace(' ', '_')}"
    (tmp_path / f"{module}.py").write_text(BROKEN[case])
    found = told("doctor", f"{module}:thing", "--model", "gemini-2.5-flash-live")
    assert not leaks(found, {API_KEY, TOKEN})


@pytest.mark.parametrize(
    "fault",
    [
        lambda key: Fault.close(1008, f"no such api key: {key}"),
        lambda key: Fault.close(1007, f"Bearer {key} is unknown, access_token={TOKEN}"),
        lambda _: Fault.handshake(403),
    ],
    ids=["1008", "1007", "403"],
)
@pytest.mark.parametrize(("profile", "key"), [("developer", API_KEY), ("vertex", TOKEN)])
def test_the_probe_tells_nothing_that_the_service_quotes(profile, key, fault, capfd):
    probed = probe("setup", key=key, profile=profile, faults=[fault(key)])
    assert probed.told
    assert not leaks([*capfd.readouterr(), probed.told, repr(probed.outcomes)], {API_KEY, TOKEN})


@pytest.mark.network
async def test_the_emulator_tells_no_key():
    """As a process, of a client that talked to it: what it prints, its ledger included."""
    command = [sys.executable, "-m", "resumekit.cli", "emulate", "--time-scale", "0.05"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = [(await process.stdout.readline()).decode() for _ in range(2)]
    address, _, _ = said[0].removeprefix("listening on https").partition(" ")
    trust = ssl.create_default_context(cafile=said[1].strip().removeprefix("CA certificate: "))
    uri = f"wss{address}{PATHS['developer']}?key={API_KEY}"
    headers = {"x-goog-api-key": API_KEY, "Authorization": f"Bearer {TOKEN}"}
    connect = websockets.connect(uri, setup=SETUP, ssl=trust, additional_headers=headers, policy=policy())
    try:
        async with connect as session:
            await ask(session, "one")
    finally:
        process.terminate()
        said += [part.decode() for part in await process.communicate()]
    assert "one" in said[2], "the ledger was printed"
    assert not leaks(said, {API_KEY, TOKEN})
