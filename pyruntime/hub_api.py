"""What the Hugging Face hub says of a repository, through huggingface_hub: its endpoint, token, HTTP client and errors.

Nothing else is sent or asked. The library's own calls name the packages that are installed and, from version 2 on, ask
the hub for a list of programs to look for in the environment.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session, hf_raise_for_status

from pyruntime import __version__, hub
from pyruntime.errors import shown, shown_name
from pyruntime.fetch import Failed


@dataclass(frozen=True)
class Remote:
    """A file of the hub."""

    path: str
    size: int
    digest: str  # sha256 in hexadecimal or, for a small file, git's sha1 of it; its name in the cache

    @property
    def sha256(self) -> str:
        return self.digest if len(self.digest) == 64 else ""


@dataclass(frozen=True)
class Listing:
    """What a repository has at a revision."""

    commit: str
    licence: str
    files: dict[str, Remote]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the library and the hub (X-HF-Warning) say on stderr: there is a line of ours, or an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def headers() -> dict[str, str]:
    """Who asks, no more: the library's own would name installed packages. And the user's token, as the library has it."""
    sent = {"user-agent": f"pyruntime/{__version__}", "accept-encoding": "identity"}
    if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
        sent["authorization"] = f"Bearer {token}"
    return sent


def listing(name: hub.Name) -> Listing:
    """One request: the commit that the revision is now, and its files with sizes and checksums."""
    revision = quote(name.revision or "main", safe="")
    url = f"{constants.ENDPOINT}/api/models/{name.repo}/revision/{revision}?blobs=true"
    response = get_session().get(url, headers=headers(), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    hf_raise_for_status(response)
    try:
        return _parsed(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failed(f"{shown_name(host())} does not answer as the Hugging Face hub does: check HF_ENDPOINT") from None


def _parsed(answer: Any) -> Listing:
    """The listing, out of an answer that may be anything; files that cannot be in the cache are left out."""
    if not re.fullmatch(r"[0-9a-f]{40}", answer["sha"]):
        raise ValueError("the commit is none")
    files: dict[str, Remote] = {}
    for sibling in answer["siblings"]:
        path, blob = sibling["rfilename"], sibling.get("lfs") or {}
        size, digest = blob.get("size", sibling.get("size")), blob.get("sha256", sibling.get("blobId"))
        if not path.endswith(".gguf") or not hub.is_safe_path(path):
            continue
        if type(size) is not int or size < 0 or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):
            raise ValueError("a file without a size or a checksum")
        files[path] = Remote(path, size, digest)
    licences = [tag.removeprefix("license:") for tag in answer.get("tags") or () if tag.startswith("license:")]
    return Listing(answer["sha"], shown_name(licences[0]) if licences else "licence not given", files)


def host() -> str:
    return urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT


def reason(error: Exception, name: hub.Name) -> str:
    """Why the hub gave nothing, and what to do."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the cache does not have it"
    if not isinstance(error, HfHubHTTPError):
        what = shown(str(error) or type(error).__name__)
        return f"no connection to {shown_name(host())} ({what}): check the network; the same command goes on from there"
    status = error.response.status_code
    token = (
        "the account of your token" if "authorization" in headers() else "your account, and set HF_TOKEN to its token"
    )
    if isinstance(error, GatedRepoError):
        return f"its owner asks for consent: accept the conditions at {constants.ENDPOINT}/{name.repo} with {token}"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no revision {name.revision or 'main'}"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return f"{shown_name(host())} has no such repository, or it is private: a private one needs HF_TOKEN"
    if status == 403:
        return f"{shown_name(host())} refuses it: check the rights of HF_TOKEN"
    if status == 429:
        return "too many requests: try again in some minutes (with HF_TOKEN the limit is higher)"
    return f"{shown_name(host())} answers with status {status}: try again later"
