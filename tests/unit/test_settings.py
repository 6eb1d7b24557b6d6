"""`pipeline.toml` and the environment: what is read, and what is refused with which words."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from streams.settings import ConfigError, Cutover, Secret, Settings, load

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "pipeline.toml"

OWN_TABLE = """
[tables.users]
name = "shop.kunde"
id = "kunde_id"
[tables.users.password]
secret = "kennwort"
algorithm_constant = "bcrypt"
[mapping.fields]
email = "mail"
[cidaas]
sub_namespace = "7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc"
"""


def read(tmp_path: Path, text: str, **env: str) -> Settings:
    path = tmp_path / "pipeline.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, env)


def refused(tmp_path: Path, text: str, **env: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **env)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


def test_the_shipped_file_fits_the_reference_schema_and_needs_no_variable() -> None:
    settings = load(DEFAULT, {})
    assert settings.app_id == "cidaas-sync"
    assert settings.partitions == 12
    assert settings.source.users.name == "public.users"
    assert settings.source.users.columns[0] == "id"
    assert set(settings.source.users.columns) == {
        *("id", "email", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale"),
        *("street_address", "postal_code", "city", "country", "status", "customer_number", "newsletter"),
        *("created_at", "last_login_at"),
    }  # fmt: skip
    assert settings.source.users.lazy == {"last_login_at"}
    (credentials,) = settings.source.credentials
    columns = "id user_id kind algorithm secret salt params created_at updated_at"
    assert credentials.columns == tuple(columns.split())
    assert settings.topics.identity == "legacy.identity"
    assert settings.topics.snapshots == "cidaas-sync-snapshots-changelog"
    assert settings.delivery.start == "paused"
    assert settings.mapping.mfa_enabled is False
    assert len(settings.mapping.id) == 16


def test_the_path_comes_from_the_environment_or_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.toml"
    path.write_text(OWN_TABLE)
    assert load(env={"PIPELINE_CONFIG": str(path)}).source.users.name == "shop.kunde"
    monkeypatch.chdir(ROOT)
    assert load(env={}).source.users.name == "public.users"


def test_the_environment_wins(tmp_path: Path) -> None:
    text = OWN_TABLE + 'base_url = "https://file.example"\n[delivery]\nstart = "paused"\nonly = 50\n'
    settings = read(
        tmp_path,
        text,
        CIDAAS_BASE_URL="https://env.example/",
        DELIVERY_START="running",
        DELIVERY_ONLY="42, 43",
        KAFKA_BOOTSTRAP_SERVERS="k1:9092,k2:9092",
        CONNECT_URL="http://connect:8083/",
    )
    assert settings.cidaas.base_url == "https://env.example"
    assert settings.delivery.start == "running"
    assert settings.delivery.only == ("42", "43")
    assert settings.kafka.bootstrap_servers == "k1:9092,k2:9092"
    assert settings.connect.url == "http://connect:8083"
    assert read(tmp_path, text).delivery.only == 50
    assert read(tmp_path, text, DELIVERY_ONLY="first:7").delivery.only == 7
    assert read(tmp_path, text, DELIVERY_ONLY="7").delivery.only == ("7",), "one user, not the first seven"


def test_an_own_table_with_the_password_in_a_column(tmp_path: Path) -> None:
    source = read(tmp_path, OWN_TABLE).source
    assert source.credentials == ()
    assert source.users.columns == ("kunde_id", "mail", "kennwort")


def test_secrets_are_demanded_where_they_are_needed_and_never_shown(tmp_path: Path) -> None:
    settings = read(tmp_path, OWN_TABLE, CIDAAS_CLIENT_SECRET="hunter2", LEGACY_DATABASE_URL="postgresql://r:pw@h/db")
    assert settings.require("CIDAAS_CLIENT_SECRET", "LEGACY_DATABASE_URL") == ("hunter2", "postgresql://r:pw@h/db")
    with pytest.raises(ConfigError) as caught:
        settings.require("CIDAAS_CLIENT_SECRET", "CIDAAS_BASE_URL", "CIDAAS_CLIENT_ID")
    assert [line.split(":")[0] for line in caught.value.problems] == ["CIDAAS_BASE_URL", "CIDAAS_CLIENT_ID"]
    assert "hunter2" not in repr(settings)
    assert "pw@" not in repr(settings)


def test_a_secret_does_not_print_itself() -> None:
    secret = Secret("hunter2")
    assert [str(secret), repr(secret), f"{secret:>3}", f"{secret!s}", "%s" % secret] == ["***"] * 5  # noqa: UP031
    assert secret == Secret("hunter2") != Secret("other")
    assert pickle.loads(pickle.dumps(secret)).reveal() == secret.reveal() == "hunter2"


def test_all_problems_come_at_once_with_file_key_and_remedy(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        """
        [pipeline]
        partitons = 12
        [tables.users]
        name = "users"
        idd = "id"
        [mapping.fields]
        emial = "e"
        username = "weird name"
        [mapping.status]
        column = "status"
        values = { active = "ACTIVE", gone = "DELETED" }
        [delivery]
        window = 51
        [cidaas]
        delete = "prge"
        sub_namespace = "shop"
        """,
    )
    text = "\n".join(lines)
    assert all(line.startswith("pipeline.toml:") for line in lines)
    for part in (
        "[pipeline] partitons: is not a known key",
        "did you mean partitions",
        "[tables.users] name: is 'users'",
        "[tables.users] id: is missing",
        "did you mean id",
        "did you mean email",
        "[mapping.fields] username: is 'weird name', which is no plain column name",
        "[mapping.status] values.active: is 'ACTIVE'",
        "[mapping.status] values.gone: is 'DELETED'",
        "[delivery] window: is 51. Write a whole number from 1 to 50.",
        "did you mean purge",
        "[cidaas] sub_namespace: is no UUID",
    ):
        assert part in text


def test_a_secret_in_the_file_is_refused_without_being_shown(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, OWN_TABLE + 'client_secret = "hunter2"')
    assert "CIDAAS_CLIENT_SECRET" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LEGACY_DATABASE_URL", "mysql://u:hunter2@h/db"),
        ("LEGACY_DATABASE_URL", "postgresql://u:hunter2@h"),
        ("LEGACY_ADMIN_URL", "postgresql://u:hunter2@h:port/db"),
        ("CIDAAS_BASE_URL", "accounts.hunter2.example"),
        ("CIDAAS_BASE_URL", "http://accounts.hunter2.example"),
        ("CIDAAS_BASE_URL", "https://u:hunter2@accounts.example"),
        ("CONNECT_URL", "hunter2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "hunter2"),
        ("KAFKA_SECURITY_PROTOCOL", "hunter2"),
        ("DELIVERY_START", "hunter2"),
        ("DELIVERY_ONLY", "first:hunter2"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(tmp_path: Path, variable: str, value: str) -> None:
    (line,) = refused(tmp_path, OWN_TABLE, **{variable: value})
    assert line.startswith(f"{variable}: ")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:9999", "http://cidaas:8080", "http://10.0.0.7", "https://a.example"]
)
def test_plain_http_is_only_for_this_machine_and_private_networks(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, OWN_TABLE, CIDAAS_BASE_URL=host).cidaas.base_url == host


def test_sasl_needs_its_three_parts(tmp_path: Path) -> None:
    lines = refused(tmp_path, OWN_TABLE, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="worker")
    assert [line.split(":")[0] for line in lines] == ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_PASSWORD"]


def test_a_credentials_table_needs_one_algorithm_and_not_two(tmp_path: Path) -> None:
    table = '[tables.credentials]\nname = "a.b"\nid = "i"\nuser_id = "u"\nsecret = "s"\n'
    assert "algorithm_constant" in refused(tmp_path, OWN_TABLE + table)[0]
    assert refused(tmp_path, OWN_TABLE + table + 'algorithm = "a"\nalgorithm_constant = "bcrypt"')
    assert read(tmp_path, OWN_TABLE + table + 'algorithm = "a"').source.credentials


def test_a_lazy_column_must_not_decide_what_happens_to_the_user(tmp_path: Path) -> None:
    text = OWN_TABLE.replace('id = "kunde_id"', 'id = "kunde_id"\nlazy = ["kunde_id", "zuletzt"]')
    (line,) = refused(tmp_path, text)
    assert "'kunde_id'" in line


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pipeline.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (line,) = caught.value.problems
    assert line.startswith("pipeline.toml: ")


def test_only_custom_fields_choose_their_type(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, OWN_TABLE.replace('"mail"', '{ column = "mail", type = "boolean" }'))
    assert "[mapping.fields.email] type: is not a known key" in line


def test_no_identifier_no_start(tmp_path: Path) -> None:
    lines = refused(tmp_path, OWN_TABLE.replace("email =", "given_name ="))
    assert any("email, username or mobile_number" in line for line in lines)


def test_the_mapping_id_follows_what_decides_the_entity_and_nothing_else(tmp_path: Path) -> None:
    id_ = read(tmp_path, OWN_TABLE).mapping.id
    same = read(tmp_path, OWN_TABLE.replace("shop.kunde", "laden.kunde") + "[delivery]\nwindow = 7", DELIVERY_ONLY="1")
    assert same.mapping.id == id_
    for changed in (
        OWN_TABLE.replace('"mail"', '"mail2"'),
        OWN_TABLE.replace("bcrypt", "sha1"),
        OWN_TABLE + "no_event = true",
        OWN_TABLE + "[mapping]\nmfa_enabled = true",
        OWN_TABLE + "[mapping.passwords]\nbcrypt_prefix = '$2b$'",
        OWN_TABLE.replace("[mapping.fields]", '[mapping.status]\ncolumn = "s"\n[mapping.fields]'),
    ):
        assert read(tmp_path, changed).mapping.id != id_


EVENING = OWN_TABLE + '[cutover]\ndomain = "Login.Example.com"\ntarget = "tenant.cidaas.de"\n'


def test_the_name_that_users_type_and_where_it_has_to_lead(tmp_path: Path) -> None:
    assert read(tmp_path, EVENING).cutover == Cutover("login.example.com", "tenant.cidaas.de")
    assert read(tmp_path, OWN_TABLE + "[cutover]\n").cutover is None
    assert read(tmp_path, EVENING).mapping.id == read(tmp_path, OWN_TABLE).mapping.id


def test_where_what_stays_is_kept_begins_at_the_file(tmp_path: Path) -> None:
    kept = read(tmp_path, EVENING + 'archive = "kept/here"\n')
    assert kept.archive_folder == kept.path.parent / "kept" / "here"
    assert kept.cutover == Cutover("login.example.com", "tenant.cidaas.de")
    elsewhere = read(tmp_path, OWN_TABLE + '[cutover]\narchive = "/var/lib/kept"\n')
    assert (str(elsewhere.archive_folder), elsewhere.cutover) == ("/var/lib/kept", None)
    assert read(tmp_path, EVENING).archive_folder is None
    assert elsewhere.mapping.id == read(tmp_path, OWN_TABLE).mapping.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("target", "# target"), "[cutover] target: is missing. Write domain and target, or neither."),
        (("tenant.cidaas.de", "LOGIN.example.com"), "[cutover] target: is the domain itself."),
        (("tenant.cidaas.de", "https://tenant.cidaas.de/"), "which is no host name. Write it like"),
        (("Login.Example.com", "bücher.example.com"), "which is no host name."),
        (("tenant.cidaas.de", "tenant..de"), "which is no host name."),
        (("domain", "domian"), "did you mean domain"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert says in "\n".join(refused(tmp_path, EVENING.replace(*change)))
