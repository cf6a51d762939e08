import pytest

from deployments.errors import InvalidRequest
from deployments.mail.address import RecipientPolicy, normalise_address


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Ada@Example.ORG", "Ada@example.org"),
        ("ada+spheroids@example.org", "ada+spheroids@example.org"),
        ("ada@bücher.example.org", "ada@xn--bcher-kva.example.org"),
    ],
)
def test_valid_addresses_are_stored_in_ascii(given, stored):
    assert normalise_address(given) == stored


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@localhost",
        "ada@host.local",
        "Ada <ada@example.org>",
        "ada@example.org\r\nBcc: all@example.org",
        "ada@example.org\n",
        "ada@example.org>\r\nRCPT TO:<all@example.org",
        "ada@example.org, bob@example.org",
        "žofie@example.org",
        "ada@[127.0.0.1]",
        "a" * 65 + "@example.org",
    ],
)
def test_anything_else_is_refused(address):
    with pytest.raises(InvalidRequest):
        normalise_address(address)


@pytest.mark.parametrize("address", ["ops@localhost", "ops@Mail.Local", "ops@example.org"])
def test_the_operator_may_name_internal_hosts(address):
    assert normalise_address(address, any_domain=True) == address.lower()


@pytest.mark.parametrize("address", ["o ps@localhost", "ops@local_host", "ops@-a.local", "@test"])
def test_internal_hosts_need_a_valid_form_too(address):
    with pytest.raises(InvalidRequest):
        normalise_address(address, any_domain=True)


def test_only_allowed_recipients_when_limits_are_set():
    policy = RecipientPolicy(["example.org", "lab.local"], ["Guest@elsewhere.net"])
    assert policy.check("ada@EXAMPLE.org") == "ada@example.org"
    assert policy.check("ada@lab.local") == "ada@lab.local"
    assert policy.check("guest@elsewhere.net") == "guest@elsewhere.net"
    for address in ("other@elsewhere.net", "ada@sub.example.org", "ada@notexample.org"):
        with pytest.raises(InvalidRequest, match="not allowed"):
            policy.check(address)


def test_the_operator_is_allowed_whatever_the_limits():
    policy = RecipientPolicy(["example.org"], operators=["ops@elsewhere.net"])
    assert policy.check("ops@elsewhere.net") == "ops@elsewhere.net"


def test_without_limits_all_public_addresses_are_allowed():
    policy = RecipientPolicy()
    assert policy.check("ada@anywhere.net") == "ada@anywhere.net"
    with pytest.raises(InvalidRequest):
        policy.check("ada@localhost")


def test_recipients_are_counted_once_each():
    policy = RecipientPolicy(most=2)
    given = ["ada@example.org", "ADA@example.org", "bob@example.org", "bob@example.org"]
    assert len(policy.check_all(given)) == 2
    with pytest.raises(InvalidRequest, match="3 recipients"):
        policy.check_all([*given, "cyd@example.org"])


def test_settings_make_the_policy(make_settings):
    settings = make_settings(
        email_allowed_domains="example.org", email_max_recipients=1, ops_email="ops@host.local"
    )
    policy = RecipientPolicy.from_settings(settings)
    assert policy.check("ops@host.local") == "ops@host.local"
    with pytest.raises(InvalidRequest):
        policy.check_all(["ada@example.org", "bob@example.org"])
    with pytest.raises(InvalidRequest):
        policy.check("ada@example.net")
