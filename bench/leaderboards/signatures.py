"""Signatures of records: made by OpenSSH, checked by anybody, and allowed by a file of the leaderboards' folder.

A signature is that of `ssh-keygen -Y sign` in a namespace of our own, so that none made for mail, for git or for
another program passes for one. `leaderboards/allowed_signers` says whose count; its format is OpenSSH's (ssh-keygen(1),
ALLOWED SIGNERS). It is read more strictly than OpenSSH reads it: certificate authorities, names beyond ASCII and
unknown options give nobody a right.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from sshsig import PublicKey, check_signature
from sshsig.allowed_signers import AllowedSigner
from sshsig.sshsig import SshsigSignature

from bench.errors import UsageError, shorten
from bench.files import read_file, why

NAMESPACE = "robustood-record"
ALLOWED = "allowed_signers"
"""The file that says who may verify, in the folder of leaderboards itself."""

SIGNATURE_SUFFIX = ".sig"
MAX_SIGNATURE_BYTES = 16 * 2**10
_MAX_BYTES = 2**20
_ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+\n-----END SSH SIGNATURE-----\n")
_DIGESTS = (b"sha256", b"sha512")
"""Of the content, by which it is signed; others could be found again for other content."""

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)")


class SignatureError(UsageError):
    """A signature does not hold, or is nobody's who may verify."""


@dataclass(frozen=True)
class Signer:
    """Who signed.

    Attributes:
        name: The principals, as the file of signers names them: never as a record does.
        fingerprint: Of the key, "SHA256:...".
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class _Line:
    name: str
    key: PublicKey
    namespaces: str | None
    after: datetime | None
    before: datetime | None

    def refuses(self, now: datetime) -> str | None:
        """Why the key's signatures do not count now; None where they do."""
        if self.namespaces is not None and not _names(self.namespaces, NAMESPACE):
            return f"may not sign in the namespace '{NAMESPACE}'"
        if self.after is not None and now < self.after:
            return f"is valid after {self.after:%Y-%m-%d} only"
        if self.before is not None and now >= self.before:
            return f"was valid before {self.before:%Y-%m-%d} only; sign the record again with a key that is valid"
        return None


@dataclass(frozen=True)
class Signers:
    """Whose signatures count in a folder of leaderboards.

    Attributes:
        place: The file, for errors.
        problems: One sentence for every line that gives nobody a right.
    """

    place: Path
    lines: tuple[_Line, ...] = ()
    problems: tuple[str, ...] = ()

    def check(self, content: bytes, signature: bytes, now: datetime | None = None) -> Signer:
        """Who signed this content.

        Args:
            content: Every byte of what was signed.
            signature: As `ssh-keygen -Y sign` writes it.
            now: When the keys must be valid; None for the present.

        Raises:
            SignatureError: The signature is of other content or another namespace, or by a key that may not verify.
        """
        if _ARMOUR.fullmatch(signature) is None:
            raise SignatureError("its signature is none of OpenSSH's")
        try:
            digest = SshsigSignature.from_armored(signature).hash_algo
            key = check_signature(content, signature, NAMESPACE)
        except Exception as error:  # whatever the parser makes of a stranger's bytes
            raise SignatureError(
                f"its signature does not hold: it is of other content, of another namespace than '{NAMESPACE}', or by "
                "a kind of key that is not read (ed25519 and RSA are)"
            ) from error
        if digest not in _DIGESTS:
            raise SignatureError("its signature is of a digest that OpenSSH does not make (SHA-256 and SHA-512 are)")
        fingerprint = key.sha256_str()
        own = [line for line in self.lines if line.key == key]
        refused = [line.refuses(now or datetime.now(UTC)) for line in own]
        for line, why_not in zip(own, refused, strict=True):
            if why_not is None:
                return Signer(line.name, fingerprint)
        if refused:
            raise SignatureError(f"it is signed by {fingerprint} ({shorten(own[0].name)}), which {refused[0]}")
        raise SignatureError(f"it is signed by {fingerprint}, which '{self.place}' does not name")


def read_signers(folder: Path) -> Signers:
    """Who may verify the rows of a folder of leaderboards; nobody where the file is not there.

    Args:
        folder: That of leaderboards itself: a file of that name in a track's folder says nothing.
    """
    path = folder / ALLOWED
    if path.is_symlink():
        return Signers(path, problems=(f"'{path}' is a link, and who may verify must stand in the file itself.",))
    try:
        text = read_file(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Signers(path)
    except OSError as error:
        return Signers(path, problems=(f"'{path}' cannot be read: {why(error)}; nobody may verify.",))
    lines, problems = [], []
    for number, raw in enumerate(text.split(b"\n"), 1):
        stripped = raw.strip()
        if not stripped or stripped.startswith(b"#"):
            continue
        try:
            lines.append(_parsed(stripped))
        except (ValueError, NotImplementedError, IndexError, OverflowError) as error:
            said = _one_line(error) or "its key cannot be read"
            problems.append(f"line {number} of '{path}' gives nobody a right: {said}.")
    return Signers(path, tuple(lines), tuple(problems))


def sign(content: bytes, key: Path) -> bytes:
    """The signature of `ssh-keygen -Y sign`, which may ask for the key's passphrase.

    Args:
        content: What is signed.
        key: A private key; or a public one, whose private key ssh-agent holds.

    Raises:
        UsageError: There is no ssh-keygen, no such key, or it does not sign.
    """
    check_key(key)
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key.absolute())]
    done = subprocess.run(command, input=content, capture_output=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0 or _ARMOUR.fullmatch(done.stdout) is None:
        said = _one_line(done.stderr.decode(errors="replace")) or "it wrote no signature"
        raise UsageError(f"ssh-keygen did not sign with '{key}': {said}; give a key that it can use.")
    return done.stdout


def check_key(key: Path) -> None:
    """Raise, before anything is computed, where nothing could be signed.

    Raises:
        UsageError: There is no ssh-keygen, or no such key.
    """
    if shutil.which("ssh-keygen") is None:
        raise UsageError("ssh-keygen is not there; install OpenSSH's client to sign records.")
    if not key.is_file():
        raise UsageError(f"there is no key '{key}'; give the file of a private key, or of a public one in ssh-agent.")


def _parsed(line: bytes) -> _Line:
    """A line of the file of signers.

    Raises:
        ValueError: It is none, or grants what is not granted here.
        NotImplementedError: Its key is of another kind than ed25519 and RSA.
    """
    try:
        found = AllowedSigner.parse(line.decode("ascii"))
    except UnicodeDecodeError:
        raise ValueError("it holds other characters than ASCII's, which may look like them") from None
    if not found.principals.isprintable():
        raise ValueError("its name holds a control character")
    options = dict(found.options or {})
    if "cert-authority" in options:
        raise ValueError("it names a certificate authority; name the keys themselves")
    key = PublicKey.from_openssh_str(f"{found.key_type} {found.base64_key}")
    after, before = (_time(options[name]) if name in options else None for name in ("valid-after", "valid-before"))
    return _Line(found.principals, key, options.get("namespaces"), after, before)


def _time(text: str) -> datetime:
    """OpenSSH's YYYYMMDD[HHMM[SS]][Z]: in the zone of this machine unless it ends with Z."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"time {shorten(text)} is not YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with or without a Z")
    numbers = [int(part or 0) for part in found.groups()[:-1]]
    local = datetime(*numbers[:3], *numbers[3:])  # type: ignore[misc,arg-type,unused-ignore]
    return local.replace(tzinfo=UTC) if found[7] else local.astimezone()


def _names(patterns: str, name: str) -> bool:
    """Whether a list of patterns such as "git,robustood-*,!x" names this: as OpenSSH's match_pattern_list."""
    every = [pattern.replace("[", "[[]") for pattern in patterns.split(",")]
    if any(fnmatchcase(name, pattern[1:]) for pattern in every if pattern.startswith("!")):
        return False
    return any(fnmatchcase(name, pattern) for pattern in every)


def _one_line(said: object) -> str:
    return " ".join(str(said).split())[:200].rstrip(".")
