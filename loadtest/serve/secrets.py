"""Where servers find their secrets: the environment or a file, never an argument that other users could see.

``HOOKBENCH_WEBHOOK_SECRET`` holds what signs Standard Webhooks, and opens ``standard`` (those with its
prefixes) and ``github`` (all but ed25519 keys, of which one half is public: anybody could sign with it);
``HOOKBENCH_<SOURCE>_SECRET``, e.g. ``HOOKBENCH_STRIPE_SECRET``, those of one source. Several stand side by
side, separated by blanks, while one rotates. A file holds the same as the first variable, or, if its name
ends in ``.toml``, a list for each source: ``stripe = ["whsec_new", "whsec_old"]``; what it names wins over
the environment.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path

from loadtest.contract import GITHUB, SECRET_VARIABLE, STANDARD
from sim.errors import InputError

log = logging.getLogger("hookbench.secrets")

STANDARD_PREFIXES = ("whsec_", "whsk_", "whpk_")
ED25519_PREFIXES = ("whsk_", "whpk_")

_VARIABLE = re.compile(r"HOOKBENCH_(\w+)_SECRET")


def read_secrets(secret_file: Path | None) -> list[str]:
    """The secrets of Standard Webhooks, from the file if one is given, else from the environment; maybe none.

    Raises:
        InputError: the file cannot be read.
    """
    if secret_file is None:
        return os.environ.get(SECRET_VARIABLE, "").split()
    if secret_file.suffix == ".toml":
        return _read_table(secret_file).get(STANDARD, [])
    return _read(secret_file).split()


def secrets_of_sources(secret_file: Path | None, known: Sequence[str]) -> dict[str, list[str]]:
    """The secrets of each source, from the file when one is given, else from the environment.

    Args:
        secret_file: the file, or None.
        known: the names of all sources there are.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
    """
    in_file: dict[str, list[str]] = {}
    general: dict[str, list[str]] = {}
    if secret_file is not None and secret_file.suffix == ".toml":
        in_file = _read_table(secret_file)
    elif secret_file is not None:
        in_file = _general(read_secrets(secret_file))
    else:
        general = _general(read_secrets(None))
    return general | _own_variables(known) | in_file


def _own_variables(known: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for variable, value in os.environ.items():
        match = _VARIABLE.fullmatch(variable)
        if match is None or variable == SECRET_VARIABLE or not value.split():
            continue
        name = match[1].lower()
        if name not in known:
            raise InputError(f"{variable} is of no known source; known: {', '.join(known)}")
        found[name] = value.split()
    return found


def _general(secrets: list[str]) -> dict[str, list[str]]:
    standard = [secret for secret in secrets if secret.startswith(STANDARD_PREFIXES)]
    github = [secret for secret in secrets if not secret.startswith(ED25519_PREFIXES)]
    return {name: own for name, own in ((STANDARD, standard), (GITHUB, github)) if own}


def _read_table(path: Path) -> dict[str, list[str]]:
    try:
        table = tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--secret-file {path} is not TOML: {error}") from None
    for name, secrets in table.items():
        if not isinstance(secrets, list) or not all(isinstance(secret, str) for secret in secrets):
            raise InputError(f'--secret-file {path}: {name} must be a list of strings, ["..."]')
    return table


def _read(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            log.warning("%s can be read by every user of this machine; chmod o-r would keep it to us", path)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--secret-file {path} cannot be read: {error}") from None
