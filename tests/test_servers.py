"""The operator's map of servers is read once, refused with the place of a fault, and gives no secret away."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma4_block.errors import ConfigurationError
from gemma4_block.servers import Server, is_private_address, parse_servers
from gemma4_block.settings import Settings, get_settings

SECRET = "sk-5Xw9"  # noqa: S105 - of nobody  # pragma: allowlist secret


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_KEY", SECRET)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_an_entry_is_read_with_the_defaults_of_what_is_left_out() -> None:
    """The server's name for a model is its id, no key is sent, and all budgets may be asked for."""
    text = '{"gemma-4-e2b-it": {"urls": ["http://127.0.0.1:8000/v1/"]}}'

    assert parse_servers(text) == (
        Server(model_id="gemma-4-e2b-it", urls=("http://127.0.0.1:8000/v1",), model="gemma-4-e2b-it"),
    )


def test_everything_that_an_entry_says_is_kept() -> None:
    """Budgets are sorted."""
    entry = {
        "urls": ["https://one.example/v1", "https://two.example:9/v1"],
        "model": "there",
        "key_env": "TEST_KEY",
        "quantization": "none",
        "image_seq_lengths": [280, 70],
    }

    assert parse_servers(json.dumps({"my-project/3": entry})) == (
        Server(
            model_id="my-project/3",
            urls=("https://one.example/v1", "https://two.example:9/v1"),
            model="there",
            key_env="TEST_KEY",
            quantization="none",
            image_seq_lengths=(70, 280),
        ),
    )


def test_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable may hold its path."""
    path = tmp_path / "servers.json"
    path.write_text('{"a": {"urls": ["http://localhost/v1"]}}', encoding="utf-8")
    monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", str(path))

    assert [server.model_id for server in get_settings().servers] == ["a"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("{", "line 1, column 2", id="no JSON"),
        pytest.param("/no/such/file.json", "No such file", id="no file"),
        pytest.param('{"a": {}}', '"a".urls', id="no URLs"),
        pytest.param('{"a": {"urls": []}}', '"a".urls', id="an empty list"),
        pytest.param('{"a": []}', 'at "a"', id="no object"),
        pytest.param('{"a": {"urls": ["http://h"]}, "a": {"urls": ["http://h"]}}', '"a" twice', id="twice"),
        pytest.param('{"a": {"urls": ["http://h"], "url": "x"}}', '"a".url: it is unknown', id="unknown"),
        pytest.param('{"a": {"urls": ["http://h", "ftp://h"]}}', '"a".urls[1]', id="no HTTP"),
        pytest.param('{"a": {"urls": ["http://8.8.8.8/v1"]}}', "use https", id="http outside"),
        pytest.param('{"a": {"urls": ["http://169.254.169.254"]}}', "use https", id="link-local"),
        pytest.param('{"a": {"urls": ["http://[2001:db8::1]/v1"]}}', "use https", id="http outside, IPv6"),
        pytest.param('{"a": {"urls": ["http://h:99999/v1"]}}', "host or port", id="port"),
        pytest.param('{"a": {"urls": ["http://h/v1?x=1"]}}', "before ?", id="query"),
        pytest.param('{"a": {"urls": ["http://h /v1"]}}', "visible ASCII", id="blank"),
        pytest.param('{"a": {"urls": ["http://h"], "key_env": "UNSET_KEY"}}', "is not set", id="unset"),
        pytest.param('{"a": {"urls": ["http://h"], "quantization": "int8"}}', '"a".quantization', id="int8"),
        pytest.param('{"a": {"urls": ["http://h"], "model": ""}}', '"a".model', id="no model"),
        pytest.param('{"a": {"urls": ["http://h"], "image_seq_lengths": [71]}}', "[0]", id="budget"),
        pytest.param('{"http://h": {"urls": ["http://h"]}}', "a model id is a name", id="id"),
        pytest.param('{"/srv/m": {"urls": ["http://h"]}}', "a model id is a name", id="directory"),
    ],
)
def test_a_malformed_map_is_refused_with_the_place(
    monkeypatch: pytest.MonkeyPatch, text: str, place: str
) -> None:
    """The message names the variable and where in it the fault is."""
    monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", text)

    with pytest.raises(ConfigurationError) as caught:
        get_settings()

    assert "GEMMA4_BLOCK_SERVERS" in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"urls": [f"https://user:{SECRET}@h/v1"]},
        {"urls": ["https://h"], "key": SECRET},
        {"urls": ["https://h"], "key_env": SECRET},
        {"urls": ["https://h"], "quantization": SECRET},
        {"urls": SECRET},
        {"urls": [f"https://h/v1?key={SECRET}"]},
    ],
    ids=["URL", "unknown field", "variable", "wrong field", "no list", "query"],
)
def test_no_error_repeats_a_secret_in_the_wrong_place(
    monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]
) -> None:
    """Neither the message nor what it was raised from."""
    monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", json.dumps({"a": entry}))

    with pytest.raises(ConfigurationError) as caught:
        get_settings()

    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


def test_settings_do_not_hold_the_key() -> None:
    """They hold the name of its variable."""
    text = '{"a": {"urls": ["https://h/v1"], "key_env": "TEST_KEY"}}'

    assert SECRET not in repr(Settings(servers=parse_servers(text)))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.8.0.1", True),
        ("192.168.1.4", True),
        ("172.31.0.1", True),
        ("100.100.0.1", True),
        ("::1", True),
        ("fd00::7", True),
        ("::ffff:10.0.0.1", True),
        ("172.32.0.1", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens
        ("::ffff:8.8.8.8", False),
        ("1.1.1.1", False),
    ],
)
def test_private_addresses(address: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Only this machine and private networks; not where clouds answer about the machine."""
    assert is_private_address(address) is expected
