"""pipeline.schema.json is what the reading functions take: the same files pass, the same mistakes do not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streams.settings import ConfigError, load, schema
from tests.unit.test_settings import OWN_TABLE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "pipeline.toml").read_text()
SCHEMA = schema.schema(TEXT)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def refused(text: str) -> list[str]:
    """The paths that the schema refuses."""
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_the_published_file_is_that_of_the_code() -> None:
    assert (ROOT / schema.FILE).read_text() == schema.render(TEXT), "run `make generate`"


def test_the_shipped_file_names_it_for_editors_and_passes() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert TEXT.splitlines()[0] == f"#:schema ./{schema.FILE}"
    assert refused(TEXT) == []


def test_the_examples_of_readme_and_docs_pass() -> None:
    whole = [
        block
        for page in ("README.md", "docs/mapping.md")
        for block in re.findall(r"^```toml\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
        if "[pipeline]" in block
    ]
    assert len(whole) == 2
    assert [refused(block) for block in whole] == [[], []]


def test_every_key_has_a_type() -> None:
    def walk(node: dict[str, Any], path: str) -> list[str]:
        if node.get("type") != "object":
            return [] if {"type", "enum", "anyOf"} & node.keys() else [path]
        inside = node.get("properties", {}) | node.get("patternProperties", {})
        return [bad for name, part in inside.items() for bad in walk(part, f"{path}.{name}")]

    assert walk(SCHEMA, "") == []
    for part in SCHEMA["definitions"].values():
        assert walk(part, "") == []


def test_keys_bring_their_comments_along() -> None:
    brake, tables = SCHEMA["properties"]["brake"], SCHEMA["properties"]["tables"]["properties"]
    assert "more deletes than" in brake["description"]
    assert tables["users"]["properties"]["name"]["description"] == "schema.table"
    assert SCHEMA["properties"]["mapping"]["properties"]["phone_region"]["description"].startswith("reads 0171")


TABLE = "[tables.credentials]\nid = 'i'\nuser_id = 'u'\n"
#: What is added to a good file, and the path that the schema blames.
MISTAKES = {
    "[pipeline]\npartitons = 3": "pipeline",
    "[pipeline]\npartitions = 0": "pipeline.partitions",
    "[pipeline]\npartitions = '3'": "pipeline.partitions",
    "[pipeline]\napp_id = 'a b'": "pipeline.app_id",
    "[pipeline]\napp_id = '...'": "pipeline.app_id",
    "[source]\nname = 'Shop'": "source.name",
    "[source]\nprefix = 'shöp'": "source.prefix",
    "[source]\nurl = 'postgresql://x'": "source",
    TABLE + "name = 'credentials'\nsecret = 's'\nalgorithm = 'a'": "tables.credentials.name",
    TABLE + "name = 'a.b'\nalgorithm = 'a'": "tables.credentials",
    TABLE + "name = 'a.b'\nsecret = 's'": "tables.credentials",
    TABLE + "name = 'a.b'\nsecret = 's'\nalgorithm = 'a'\ntotp_kind = 't'": "tables.credentials",
    TABLE + "name = 'a.b'\nsecret = 's'\nalgorithm = 'a'\nparams = { column = 'p', memory = 'm' }": (
        "tables.credentials.params"
    ),
    "[mapping]\nphone_region = 'Germany'": "mapping.phone_region",
    "[mapping]\nmfa_enabled = 'no'": "mapping.mfa_enabled",
    "[mapping.address]\nstreet = 's'": "mapping.address",
    "[mapping.address]\nregion = '__op'": "mapping.address.region",
    "[mapping.address]\nregion = { colum = 'x' }": "mapping.address.region",
    "[mapping.custom_fields]\n'a b' = 'x'": "mapping.custom_fields",
    "[mapping.custom_fields]\na = { column = 'x', type = 'bool' }": "mapping.custom_fields.a",
    "[mapping.status]\ncolumn = 's'\nvalues = { a = 'ACTIVE' }": "mapping.status.values.a",
    "[mapping.status]\nvalues = { a = 'LOCKED' }": "mapping.status",
    "[mapping.select]\ncolumn = 'c'\nvalues = []": "mapping.select.values",
    "[mapping.select]\nvalues = ['x']": "mapping.select",
    "[mapping.passwords]\nbcrypt_prefix = '$2x$'": "mapping.passwords.bcrypt_prefix",
    "[mapping.passwords]\nalgorithms = { md5 = 'md5' }": "mapping.passwords.algorithms.md5",
    "[delivery]\nonly = 0": "delivery.only",
    "[delivery]\nwindow = 51": "delivery.window",
    "[delivery]\ntemporary_email = 'swap@example.org'": "delivery.temporary_email",
    "[brake]\nshare = 1.5": "brake.share",
    "[kafka]\nsecurity_protocol = 'TLS'": "kafka.security_protocol",
    "[cutover]\ndomain = 'login.example.com'": "cutover",
    "[cutover]\ndomain = 'login'\ntarget = 'tenant.cidaas.de'": "cutover.domain",
    "[cutover]\ndomain = 'login.example.com'\ntarget = 'https://tenant.cidaas.de'": "cutover.target",
    "[nonsense]": "",
}


@pytest.mark.parametrize(("text", "path"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_refused_by_both(tmp_path: Path, text: str, path: str) -> None:
    assert refused(OWN_TABLE) == []
    file = tmp_path / "pipeline.toml"
    file.write_text(OWN_TABLE + text + "\n")
    with pytest.raises(ConfigError):
        load(file, {})
    assert refused(OWN_TABLE + text + "\n") == [path]


@pytest.mark.parametrize("sub", ["", "sub = 'uuid5'", "sub = 'id'"])
def test_a_namespace_is_needed_for_a_sub_that_is_made(sub: str) -> None:
    text = re.sub("^sub_namespace.*$", sub, OWN_TABLE, flags=re.MULTILINE)
    assert refused(text) == ([] if "'id'" in sub else ["cidaas"])
