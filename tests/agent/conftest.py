import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from agentlab import AgentLab, linux, linux_listener, OURS  # noqa: E402
from script import Wire  # noqa: E402


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="namespaces need root"))


@pytest.fixture(scope="session")
def lab():
    place = AgentLab()
    yield place
    place.close()


@pytest.fixture
def agent(lab):
    """An agent without settings; what a test leaves open is closed after it."""
    p = lab.shared(())
    yield p.agent
    if p.poll() is None:
        for fd in range(3, 40):
            p.agent.start(10, fd).reply()


@pytest.fixture
def wire(lab):
    w = Wire()
    yield w
    w.close()


@pytest.fixture
def special(lab):
    """Agents with settings of a test's own: special("sack=off")."""
    started = []

    def start(*sets, **kw):
        started.append(lab.start(*sets, **kw))
        return started[-1].agent
    start.processes = started
    yield start
    for p in started:
        lab.stop(p)


_port = 5000


@pytest.fixture
def port():
    """A port of ours that no test has used."""
    global _port
    _port += 1
    return _port


@pytest.fixture
def listener(agent, port):
    s = agent.socket()
    s.bind((OURS, port))
    s.listen(16)
    s.port = port
    return s


@pytest.fixture
def pair(listener):
    """A socket of ours, accepted, and Linux' at the other end."""
    peer = linux()
    peer.connect((OURS, listener.port))
    ours, _ = listener.accept()
    yield ours, peer
    peer.close()


@pytest.fixture
def opened(agent):
    """A socket of ours, connected, and Linux' at the other end."""
    there = linux_listener()
    ours = agent.socket()
    ours.connect(there.getsockname())
    peer, _ = there.accept()
    peer.settimeout(10)
    yield ours, peer
    peer.close()
    there.close()
