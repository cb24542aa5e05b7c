from pathlib import Path

import pytest

from chainrule.config import ClientConfig, Reader
from chainrule.errors import ConfigError


def test_nothing_configured_gives_the_documented_defaults():
    config = ClientConfig.from_env({"HOME": "/home/ada"})
    assert config.data_dir == Path("/home/ada/.local/share/chainrule")
    assert (config.host, config.port, config.api_key) == ("127.0.0.1", 8000, None)
    assert config.url == "http://127.0.0.1:8000"


def test_the_data_directory_honours_xdg_data_home():
    config = ClientConfig.from_env({"HOME": "/home/ada", "XDG_DATA_HOME": "/srv/data"})
    assert config.data_dir == Path("/srv/data/chainrule")


def test_a_relative_xdg_data_home_is_ignored_as_its_specification_says():
    config = ClientConfig.from_env({"HOME": "/home/ada", "XDG_DATA_HOME": "data"})
    assert config.data_dir == Path("/home/ada/.local/share/chainrule")


def test_all_bad_variables_are_reported_at_once():
    environ = {
        "HOME": "/home/ada",
        "CHAINRULE_PORT": "eighty",
        "CHAINRULE_HOST": "http://example.org",
        "CHAINRULE_API_KEY": "has spaces in it",
    }
    with pytest.raises(ConfigError) as caught:
        ClientConfig.from_env(environ)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "CHAINRULE_PORT must be a whole number from 0 to 65535, got 'eighty'" in lines
    assert any(line.startswith("CHAINRULE_HOST must be") for line in lines)
    assert any(line.startswith("CHAINRULE_API_KEY must be") for line in lines)


def test_a_bad_key_is_not_repeated_in_the_complaint():
    with pytest.raises(ConfigError) as caught:
        ClientConfig.from_env({"HOME": "/h", "CHAINRULE_API_KEY": "secret words"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("port", ["-1", "65536", "80.5", "1e3"])
def test_a_port_outside_its_range_is_refused(port):
    with pytest.raises(ConfigError, match="CHAINRULE_PORT"):
        ClientConfig.from_env({"HOME": "/h", "CHAINRULE_PORT": port})


def test_an_empty_variable_counts_as_not_set():
    config = ClientConfig.from_env({"HOME": "/h", "CHAINRULE_PORT": "", "CHAINRULE_API_KEY": " "})
    assert (config.port, config.api_key) == (8000, None)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("example.org", "http://example.org:8000"),
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_the_address_is_one_that_a_client_on_this_machine_can_call(host, url):
    assert ClientConfig.from_env({"HOME": "/h", "CHAINRULE_HOST": host}).url == url


def test_the_configured_key_comes_before_the_one_in_the_data_directory(tmp_path):
    (tmp_path / "api-key").write_text("from-file\n")
    environ = {"CHAINRULE_DATA_DIR": str(tmp_path)}
    assert ClientConfig.from_env(environ).find_key() == "from-file"
    environ["CHAINRULE_API_KEY"] = "from-environment"
    assert ClientConfig.from_env(environ).find_key() == "from-environment"


def test_without_any_key_there_is_none(tmp_path):
    assert ClientConfig.from_env({"CHAINRULE_DATA_DIR": str(tmp_path)}).find_key() is None


def test_a_reader_checks_numbers_and_keeps_the_defaults_of_what_it_refuses():
    reader = Reader({"CHAINRULE_A": "nan", "CHAINRULE_B": "2.5"})
    assert reader.number("CHAINRULE_A", 1.0, 0.0, 5.0) == 1.0
    assert reader.number("CHAINRULE_B", 1.0, 0.0, 5.0) == 2.5
    with pytest.raises(ConfigError, match="CHAINRULE_A must be a number from 0 to 5, got 'nan'"):
        reader.check()
