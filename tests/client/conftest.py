import pytest

from chainrule.cli.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """A real service: API, worker, broker and database as processes."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def client(stack):
    with stack.client() as client:
        yield client


@pytest.fixture
def configured(stack, monkeypatch):
    """The environment of a user whose service is the stack."""
    monkeypatch.setenv("CHAINRULE_DATA_DIR", str(stack.data_dir))
    monkeypatch.setenv("CHAINRULE_PORT", stack.url.rpartition(":")[2])
    monkeypatch.delenv("CHAINRULE_API_KEY", raising=False)
    monkeypatch.delenv("CHAINRULE_HOST", raising=False)
    return stack


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Two clouds of points that a line separates, and a number that depends on them."""
    path = tmp_path_factory.mktemp("data") / "clouds.csv"
    lines = ["x,y,color,height"]
    for i in range(200):
        side = i % 2
        x, y = side + (i * 37 % 211) / 527, side - (i * 53 % 211) / 527
        lines.append(f"{x:.4f},{y:.4f},{'blue' if side else 'amber'},{2 * x - y:.4f}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
