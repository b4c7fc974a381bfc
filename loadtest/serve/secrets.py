"""Where servers find their secrets: the environment or a file, never an argument that other users could see.

``HOOKBENCH_WEBHOOK_SECRET`` holds what signs Standard Webhooks, and opens ``standard`` (those with its
prefixes) and ``github`` (all); ``HOOKBENCH_<SOURCE>_SECRET``, e.g. ``HOOKBENCH_STRIPE_SECRET``, those of one
source. Several stand side by side, separated by blanks, while one rotates. A file holds the same as the first
variable, or, if its name ends in ``.toml``, a list for each source: ``stripe = ["whsec_new", "whsec_old"]``.
"""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path

from loadtest.contract import GITHUB, SECRET_VARIABLE, STANDARD
from sim.errors import InputError

log = logging.getLogger("hookbench.secrets")

STANDARD_PREFIXES = ("whsec_", "whsk_", "whpk_")


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
    if secret_file is not None and secret_file.suffix == ".toml":
        return _read_table(secret_file)
    secrets = _general(read_secrets(secret_file))
    if secret_file is None:
        for name in known:
            own = os.environ.get(f"HOOKBENCH_{name.upper()}_SECRET", "").split()
            if own:
                secrets[name] = own
    return secrets


def _general(secrets: list[str]) -> dict[str, list[str]]:
    standard = [secret for secret in secrets if secret.startswith(STANDARD_PREFIXES)]
    return {name: own for name, own in ((STANDARD, standard), (GITHUB, secrets)) if own}


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
