"""YAML and key=value become a checked configuration, and every fault is named."""

from pathlib import Path

import pytest
from pydantic import Field

from toolgen.config import Section, load_config
from toolgen.errors import InputError


class Inner(Section):
    rate: float = Field(0.1, gt=0)
    steps: int = 3


class Outer(Section):
    name: str
    inner: Inner = Inner()


def test_overrides_beat_the_file_and_the_file_beats_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: file\ninner:\n  rate: 0.5\n")
    config = load_config(Outer, path, ["inner.rate=4e-5", "name=line"])
    assert (config.name, config.inner.rate, config.inner.steps) == ("line", 4e-5, 3)


def test_an_override_reaches_a_section_that_the_file_lacks() -> None:
    assert load_config(Outer, None, ["name=x", "inner.steps=7"]).inner.steps == 7


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("inner:\n  rate: -1\n  stepz: 2\n")
    with pytest.raises(InputError) as caught:
        load_config(Outer, path)
    message = str(caught.value)
    assert str(path) in message
    assert "'name' is required" in message
    assert "unknown key 'inner.stepz' (known here: rate, steps)" in message
    assert "'inner.rate'" in message and "-1" in message


@pytest.mark.parametrize("override", ["name", "=x", "name.deep=1", "name=[1"])
def test_a_broken_override_is_refused(override: str) -> None:
    with pytest.raises(InputError):
        load_config(Outer, None, ["name=x", override])


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(Outer, tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(Outer, broken)
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    with pytest.raises(InputError, match="mapping"):
        load_config(Outer, listed)
