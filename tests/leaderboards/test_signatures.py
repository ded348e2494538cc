"""Signatures are those of OpenSSH, and the file of signers gives what OpenSSH's would give, or less."""

import base64
import hashlib
import struct
import subprocess
import time as clock
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from row_world import new_key, public_half

from bench.errors import UsageError
from bench.leaderboards.signatures import NAMESPACE, SignatureError, check_key, read_signers, sign

CONTENT = b"what was verified\n"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def signed(own):
    return sign(CONTENT, own)


def signers(folder, *lines):
    (folder / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))
    return read_signers(folder)


def openssh_allows(folder, signature, content=CONTENT):
    """Whether `ssh-keygen -Y verify` accepts a signature by the file of signers."""
    (folder / "signature").write_bytes(signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", folder / "allowed_signers", "-I", "me", "-n", NAMESPACE, "-s",
               folder / "signature"]  # fmt: skip
    return subprocess.run(command, input=content, capture_output=True, check=False).returncode == 0


def allows(folder, signature, *lines, now=None):
    try:
        return signers(folder, *lines).check(CONTENT, signature, now).name
    except SignatureError:
        return None


@pytest.mark.parametrize(
    "line",
    [
        "me {key}",
        'me namespaces="robustood-record" {key} comment of mine',
        'me namespaces="git,robustood-*" {key}',
        'me namespaces="robustood-recor?" {key}',
        'me namespaces="git" {key}',
        'me namespaces="!robustood-record,*" {key}',
        'me namespaces="[r]obustood-record" {key}',
        'me valid-after="20200101Z",valid-before="29990101Z" {key}',
        'me namespaces="robustood-record",valid-before="29990101" {key}',
        'me valid-before="20200101000000Z" {key}',
        'me valid-after="299901010000" {key}',
        'me unknown="x" {key}',
        'me valid-before="tomorrow" {key}',
        'me valid-before="20200101Z",valid-before="29990101Z" {key}',
        "# me {key}",
        "me",
        "",
    ],
)
def test_a_line_of_the_file_of_signers_gives_what_openssh_reads_in_it(tmp_path, own, signed, line):
    text = line.format(key=public_half(own))
    assert (allows(tmp_path, signed, text) is not None) == openssh_allows(tmp_path, signed)


@pytest.mark.parametrize("line", ["me cert-authority {key}", "mе {key}", "me\x1b[2J {key}"])  # noqa: RUF001
def test_what_openssh_would_read_otherwise_gives_nobody_a_right_and_is_named(tmp_path, own, signed, line):
    found = signers(tmp_path, "# mine", line.format(key=public_half(own)))
    assert found.lines == ()
    (problem,) = found.problems
    assert problem.startswith(f"line 2 of '{tmp_path / 'allowed_signers'}' gives nobody a right: ")
    assert problem.isprintable()
    with pytest.raises(SignatureError, match="does not name"):
        found.check(CONTENT, signed)


def test_a_key_is_valid_from_its_first_moment_until_before_its_last(tmp_path, own, signed):
    line = f'me valid-after="20300101Z",valid-before="20310101Z" {public_half(own)}'
    for moment, name in (((2029, 12, 31), None), ((2030, 1, 1), "me"), ((2030, 12, 31), "me"), ((2031, 1, 1), None)):
        assert allows(tmp_path, signed, line, now=datetime(*moment, tzinfo=UTC)) == name


def test_of_two_lines_of_a_key_the_one_that_is_valid_counts_and_names_the_signer(tmp_path, own, signed):
    half = public_half(own)
    assert allows(tmp_path, signed, f'old valid-before="20200101Z" {half}', f"new {half}") == "new"


def test_the_name_of_the_signer_is_that_of_the_file_and_the_fingerprint_is_openssh_s(tmp_path, own, signed):
    signer = signers(tmp_path, f"me,you {public_half(own)}").check(CONTENT, signed)
    told = subprocess.run(["ssh-keygen", "-lf", own], capture_output=True, check=True, text=True).stdout
    assert signer.name == "me,you" and signer.fingerprint in told


def test_an_rsa_key_signs_too_and_openssh_agrees(tmp_path):
    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key], check=True)
    assert allows(tmp_path, sign(CONTENT, key), f"me {public_half(key)}") == "me"
    assert openssh_allows(tmp_path, sign(CONTENT, key))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + b"x",
        lambda text: b"x" + text,
        lambda text: text.replace(b"U1NIU0lH", b"U1NIU0lI"),
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf////8=\n-----END SSH SIGNATURE-----\n",
        lambda text: b"\xff" * 100,
    ],
)
def test_a_signature_that_is_damaged_or_none_is_refused(tmp_path, own, signed, change):
    assert allows(tmp_path, signed, f"me {public_half(own)}") == "me"
    assert allows(tmp_path, change(signed), f"me {public_half(own)}") is None


def signed_by_digest(key, name):
    """The signature of a key's holder who takes another digest of the content."""
    private = load_ssh_private_key(key.read_bytes(), None)

    def string(part):
        return struct.pack(">I", len(part)) + part

    start = b"SSHSIG", string(NAMESPACE.encode()) + string(b"") + string(name.encode())
    message = b"".join(start) + string(hashlib.new(name, CONTENT).digest())
    public = base64.b64decode(public_half(key).split()[1])
    own = string(b"ssh-ed25519") + string(private.sign(message))
    whole = start[0] + struct.pack(">I", 1) + string(public) + start[1] + string(own)
    text = base64.b64encode(whole).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


@pytest.mark.parametrize(("digest", "held"), [("sha512", True), ("sha256", True), ("md5", False), ("sha1", False)])
def test_a_signature_of_a_digest_that_openssh_does_not_make_is_refused(tmp_path, own, digest, held):
    made = signed_by_digest(own, digest)
    assert (allows(tmp_path, made, f"me {public_half(own)}") == "me") == held == openssh_allows(tmp_path, made)


def test_a_folder_without_the_file_lets_nobody_verify(tmp_path, signed):
    assert read_signers(tmp_path / "nowhere").lines == ()
    (tmp_path / "allowed_signers").mkdir()
    assert "cannot be read" in read_signers(tmp_path).problems[0]


def test_a_key_that_cannot_sign_is_refused_in_one_sentence(tmp_path, own, monkeypatch):
    (tmp_path / "none").write_text("no key")
    with pytest.raises(UsageError, match="ssh-keygen did not sign with"):
        sign(CONTENT, tmp_path / "none")
    with pytest.raises(UsageError, match="there is no key"):
        sign(CONTENT, tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install OpenSSH's client"):
        check_key(own)


def test_reading_a_signature_needs_no_program(tmp_path, own, signed, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert allows(tmp_path, signed, f"me {public_half(own)}") == "me"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
@pytest.mark.parametrize("time", ["99991231235959", "00010101", "00010101Z", "20200230", "99991231"])
def test_a_time_at_the_end_of_the_calendar_is_read_or_refused_in_one_sentence(tmp_path, own, monkeypatch, zone, time):
    monkeypatch.setenv("TZ", zone)
    clock.tzset()
    try:
        found = signers(tmp_path, f'me valid-after="{time}" {public_half(own)}')
    finally:
        monkeypatch.undo()
        clock.tzset()
    assert len(found.lines) + len(found.problems) == 1


def test_a_line_whose_key_is_cut_off_is_named_with_a_reason(tmp_path):
    (problem,) = signers(tmp_path, "me ssh-ed25519 AAAA").problems
    assert problem.endswith("gives nobody a right: its key cannot be read.")
