"""The pytest plugin as a project has it: pytest runs projects that know nothing of this one."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest.importorskip("google.genai")

ROOT = Path(__file__).parents[2]
pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]

AGENT = """
from google import genai
from resumekit.adapters import genai as resumable

QUESTIONS = ["Any tips for Oslo?", "What should I pack?"]
SETUP = {"model": "gemini-2.5-flash-live", "config": {"response_modalities": ["TEXT"]}}

async def hold(connection):
    async with connection as session:
        for question in QUESTIONS:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": question}]})
            async for message in session.receive():
                pass

async def talk():
    await hold(resumable.connect(genai.Client(), **SETUP))

async def talk_plainly():
    await hold(genai.Client().aio.live.connect(**SETUP))
"""


@pytest.fixture
def project(pytester):
    """A project with an agent, and nothing of pytest's own but what is installed."""
    pytester.makepyfile(agent=AGENT)
    return pytester


def run(project, *options):
    return project.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly", *options)


def test_it_is_installed():
    assert [each.value for each in entry_points(group="pytest11", name="resumekit")] == ["pytest_resumekit"]


def test_an_agent_that_survives_passes_and_one_that_does_not_fails_and_is_told_why(project):
    project.makepyfile("""
        import asyncio, os
        import agent, pytest

        def test_agent(live_server, fault_script):
            fault_script.cut_mid_answer()
            asyncio.run(agent.talk())
            live_server.assert_survived(agent.QUESTIONS)

        def test_plain_agent(live_server, fault_script):
            fault_script.cut_mid_answer(turn=2)
            asyncio.run(agent.talk_plainly())

        def test_fault_that_never_strikes(live_server, fault_script):
            fault_script.cut_at_tool_call()
            asyncio.run(agent.talk())
            live_server.assert_survived(agent.QUESTIONS)

        def test_the_environment_is_as_before():
            assert "GOOGLE_GEMINI_BASE_URL" not in os.environ
    """)
    result = run(project)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines([
        "E *APIError: 1006 *",
        "*live_server call*",
        "not answered to its end: 'What should I pack[?]'",
        "connection 0: fresh, 1 turn, 1006 by fault, faults: rst",
        "E *AssertionError: the conversation did not survive:*",
        "E *never struck, so that this test shows nothing: rst at tool_call 1",
    ])  # fmt: skip


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_async_tests_have_it_in_both_modes_of_pytest_asyncio(project, mode):
    project.makepyfile(f"""
        import agent, pytest

        {"pytestmark = pytest.mark.asyncio" if mode == "strict" else ""}

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_agent(live_server, fault_script, turn):
            fault_script.cut_mid_answer(turn)
            await agent.talk()
            live_server.assert_survived(agent.QUESTIONS)
    """)
    result = run(project, "-o", f"asyncio_mode={mode}", *(["-n", "2"] if mode == "auto" else []))
    result.assert_outcomes(passed=2)


def test_anyio_s_tests_have_it(project):
    project.makepyfile("""
        import agent, pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_agent(live_server, fault_script):
            fault_script.cut_after_answer()
            await agent.talk()
            live_server.assert_survived(agent.QUESTIONS)
    """)
    run(project, "-p", "no:asyncio").assert_outcomes(passed=1)


def test_the_mark_sets_the_server_up(project):
    project.makepyfile("""
        import asyncio, agent, pytest

        pytestmark = pytest.mark.live_server(model="gemini-3.8-live", profile="developer")

        @pytest.mark.live_server(model="auto", time_scale=0.05)
        def test_the_nearest_mark_wins(live_server):
            assert (live_server.settings.time_scale, live_server.settings.profile) == (0.05, "developer")
            asyncio.run(agent.talk())

        @pytest.mark.live_server(time_scale=0)
        def test_nonsense(live_server): pass

        @pytest.mark.live_server(3)
        def test_no_keyword(live_server): pass
    """)
    result = run(project, "--strict-markers")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines([
        "the mark live_server: *time_scale*", "the mark live_server takes keyword arguments only, not (3,)"
    ])  # fmt: skip


def test_sessions_without_a_policy_wait_on_the_time_scale_of_the_server(project):
    project.makepyfile("""
        import asyncio
        import agent
        from resumekit import Policy
        from resumekit.adapters._common import checked_policy

        POLICY = Policy(max_outage=60.0)

        def test_mute(live_server, fault_script):
            assert checked_policy(None) is live_server.policy
            assert checked_policy(POLICY) is POLICY
            fault_script.go_mute_mid_answer()
            asyncio.run(agent.talk())
            live_server.assert_survived(agent.QUESTIONS)

        def test_as_before():
            assert checked_policy(None) == Policy()
    """)
    run(project).assert_outcomes(passed=2)


def test_it_steps_aside_for_another_plugin_and_for_the_project(project):
    project.makepyfile(
        other="""
        import pytest

        @pytest.fixture
        def live_server():
            return "django's"
        """,
        test_other="""
        def test_both(live_server, resumekit_live_server, fault_script):
            assert live_server == "django's"
            assert resumekit_live_server.base_url.startswith("https://127.0.0.1:")
        """,
    )
    run(project, "-p", "other").assert_outcomes(passed=1)
    project.makeconftest("from other import live_server")
    run(project).assert_outcomes(passed=1)


def test_a_project_that_does_not_ask_for_it_loads_nothing_of_it(project):
    project.makepyfile("""
        import sys

        def test_nothing():
            assert "pytest_resumekit" in sys.modules
            assert not [name for name in sys.modules if name.partition(".")[0] in ("resumekit", "trustme", "websockets")]
    """)
    run(project, "-p", "no:asyncio").assert_outcomes(passed=1)


def as_from_a_wheel(folder):
    """Put resumekit there as a wheel has it: with a list of its files, by which pytest knows what came with a plugin."""
    metadata = folder / "resumekit-0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: resumekit\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\nresumekit = pytest_resumekit\n")
    for name in ("resumekit", "pytest_resumekit.py"):
        (folder / name).symlink_to(ROOT / name)
    files = [Path("pytest_resumekit.py"), *(path.relative_to(ROOT) for path in (ROOT / "resumekit").rglob("*.py"))]
    (metadata / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return str(folder)


def test_of_resumekit_pytest_rewrites_nothing_but_the_conformance_classes(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", as_from_a_wheel(project.path / "site"))
    project.makeconftest("import resumekit")
    project.makepyfile("""
        import importlib.util, sys
        import agent, pytest, resumekit.adapters.websockets, resumekit.testing

        def test_loaders(live_server):
            assert "/site/" in resumekit.__file__
            modules = [name for name in sys.modules if name.partition(".")[0] in ("resumekit", "pytest_resumekit")]
            rewritten = {name for name in modules if "_pytest" in type(sys.modules[name].__loader__).__module__}
            assert rewritten == {"pytest_resumekit", "resumekit.testing.pool", "resumekit.testing.stores"}
            assert len(modules) > 50
            assert type(agent.__loader__).__module__ == "_frozen_importlib_external"
            assert type(sys.modules[__name__].__loader__).__module__ == "_pytest.assertion.rewrite"
    """)
    run(project, "-p", "no:asyncio", "-W", "error").assert_outcomes(passed=1)


def test_what_is_missing_is_named(project):
    project.makeconftest("import sys; sys.modules['trustme'] = None")
    project.makepyfile("def test_agent(live_server): pass")
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([
        "*emulator of resumekit needs trustme, which is not installed; install * (from a clone: pip install '.[[]testing]')"
    ])  # fmt: skip


def test_the_options_of_clients_suit_both_backends(project):
    project.makepyfile("""
        import asyncio, pytest
        from google import genai
        from resumekit.adapters import genai as resumable
        import agent

        @pytest.mark.parametrize("name", [
            pytest.param("developer", marks=pytest.mark.live_server(profile="developer")),
            pytest.param("vertex", marks=pytest.mark.live_server(profile="vertex")),
        ])
        def test_agent(live_server, fault_script, name, monkeypatch):
            for variable in live_server.environment():
                monkeypatch.delenv(variable, raising=False)
            fault_script.go_away(1.0)
            client = genai.Client(**live_server.client_options())
            asyncio.run(agent.hold(resumable.connect(client, policy=live_server.policy, **agent.SETUP)))
            live_server.assert_survived(agent.QUESTIONS)
    """)
    run(project).assert_outcomes(passed=2)
