"""One call to an OpenAI-compatible server: limits on time and size, retries where they help, plain errors.

The address and key come from OPENAI_BASE_URL and OPENAI_API_KEY and from nowhere else. `openai` is imported when a
client is made, never with this module.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tgrpo_envs.errors import AuthorError, ConfigError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.reward_tools.author.answer import SHOWN_CHARS, Answer, read_answer
from tgrpo_envs.reward_tools.author.ledger import Accounts, estimate_tokens
from tgrpo_envs.reward_tools.author.provenance import Usage
from tgrpo_envs.reward_tools.author.redaction import KEY_VARIABLE, is_url, public_url, redact

if TYPE_CHECKING:
    import httpx2
    import openai

URL_VARIABLE = "OPENAI_BASE_URL"
MAX_BODY_BYTES = 1_000_000  # of an HTTP body; a spec has 4 kB
MAX_DELAY_S = 30.0
MAX_RETRY_AFTER_S = 120.0
RETRIED = (408, 409, 429)  # and every 5xx
UNSUPPORTED = (400, 422)  # what servers say to a request form they do not know


class RequestRefusedError(AuthorError):
    """The server does not take requests of this form; another form may do."""


@dataclass(frozen=True)
class Limits:
    """Limits of one call.

    Attributes:
        timeout_s: Longest wait for a whole reply, seconds.
        max_reply_tokens: Longest reply, tokens.
        max_attempts: Requests for one reply, the first included.
        first_delay_s: Wait before the second attempt, seconds; doubles with each, with jitter.
    """

    timeout_s: float = 180.0
    max_reply_tokens: int = 8192
    max_attempts: int = 5
    first_delay_s: float = 1.0


class ChatServer:
    """An OpenAI-compatible server and one of its models.

    Args:
        model: The model's name.
        accounts: What may be spent; every request is checked against it and recorded.
        limits: Limits of one call.

    Attributes:
        name: Address without secrets, and model.

    Raises:
        ConfigError: Neither a key nor an address is set.
    """

    def __init__(self, model: str, accounts: Accounts, limits: Limits) -> None:
        key, url = os.environ.get(KEY_VARIABLE, ""), os.environ.get(URL_VARIABLE, "")
        if not key and not url:
            raise ConfigError(f"Set {KEY_VARIABLE}, or {URL_VARIABLE} for a local server that needs no key.")
        if url and not is_url(url):
            raise ConfigError(f"{URL_VARIABLE} is no address such as http://localhost:8000/v1; correct it.")
        self.model = model
        self.limits = limits
        self._accounts = accounts
        self._deadline = 0.0
        self._client = self._connect(key or "none", url or None)
        self.name = f"{public_url(str(self._client.base_url))} {model}"

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def send(self, request: dict[str, Any]) -> Answer:
        """Send a chat request and return the reply.

        Raises:
            BudgetError: The call could exceed a limit; nothing was sent.
            RequestRefusedError: The server does not take requests of this form (400, 422).
            AuthorError: It failed otherwise, on every attempt.
        """
        import openai

        prompt_chars = sum(len(str(message["content"])) for message in request["messages"])
        for attempt in range(self.limits.max_attempts):
            self._accounts.reserve(prompt_chars, self.limits.max_reply_tokens)
            started = time.monotonic()
            self._deadline = started + self.limits.timeout_s
            try:
                raw = self._client.chat.completions.with_raw_response.create(model=self.model, **request)
                answer = read_answer(raw.http_response.text, prompt_chars, self.model)
            except (openai.APIError, AuthorError) as error:
                status, spent = _outcome(error, prompt_chars)
                self._accounts.record(status, spent, time.monotonic() - started, server=self.name)
                wait_s = self._wait(error, attempt)
                if wait_s is None:
                    # Not `from error`: its request carries the key.
                    raise _plain_error(error, self.name, attempt + 1) from None
                time.sleep(wait_s)
            else:
                self._accounts.record("ok", answer.usage, time.monotonic() - started, server=self.name)
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _connect(self, key: str, url: str | None) -> openai.OpenAI:
        with needs_extra("llm"):
            import openai

        http = openai.DefaultHttpx2Client(
            timeout=self.limits.timeout_s, follow_redirects=False, event_hooks={"response": [self._cap]}
        )
        headers = {"Accept-Encoding": "identity"}  # a small compressed body may be a large one
        return openai.OpenAI(
            api_key=key, base_url=url, timeout=self.limits.timeout_s, max_retries=0, http_client=http,
            default_headers=headers,
        )  # fmt: skip

    def _cap(self, response: httpx2.Response) -> None:
        """Replace the body by one that ends in an error at the limit of size or time."""
        import httpx2

        deadline, stream = self._deadline, response.stream
        if not isinstance(stream, httpx2.SyncByteStream):
            raise AssertionError("a synchronous client has synchronous streams")
        body: httpx2.SyncByteStream = stream
        encoding = response.headers.get("content-encoding", "identity")

        class Capped(httpx2.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                if encoding != "identity":
                    raise httpx2.DecodingError(f"a body compressed with {encoding}, though none was asked for")
                received = 0
                for chunk in body:
                    received += len(chunk)
                    if received > MAX_BODY_BYTES:
                        raise httpx2.DecodingError(f"a body of more than {MAX_BODY_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise httpx2.ReadTimeout("the whole reply took too long")
                    yield chunk

            def close(self) -> None:
                body.close()

        response.stream = Capped()

    def _wait(self, error: Exception, attempt: int) -> float | None:
        """Seconds until the next attempt, or None where there should be none."""
        import openai

        if attempt + 1 >= self.limits.max_attempts or _is_final(error):
            return None
        backoff: float = min(self.limits.first_delay_s * 2**attempt, MAX_DELAY_S) * random.uniform(0.5, 1.0)
        if not isinstance(error, openai.APIStatusError):
            return backoff
        asked = _retry_after(error.response.headers.get("retry-after", ""))
        if asked is None:
            return backoff
        return None if asked > MAX_RETRY_AFTER_S else asked


def _is_final(error: Exception) -> bool:
    """Whether another attempt would end the same way."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code not in RETRIED and error.status_code < 500
    return isinstance(error, AuthorError) or isinstance(error.__cause__, httpx2.DecodingError)


def _retry_after(value: str) -> float | None:
    """The seconds of a Retry-After header; dates are rare and count as none."""
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def _outcome(error: Exception, prompt_chars: int) -> tuple[str, Usage]:
    """What the ledger says of a failed request: a prompt that may have been read is counted, though nobody says so."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return str(error.status_code), Usage()
    if isinstance(error.__cause__, httpx2.ConnectError | httpx2.UnsupportedProtocol):
        return "failed", Usage()
    status = "timeout" if isinstance(error, openai.APITimeoutError) else "failed"
    return status, Usage(prompt_tokens=estimate_tokens(prompt_chars), estimated=True)


def _plain_error(error: Exception, server: str, attempts: int) -> AuthorError:
    import openai

    tries = f" after {attempts} attempts" if attempts > 1 else ""
    if isinstance(error, openai.APIStatusError):
        said = redact(" ".join(error.response.text.split()))[:SHOWN_CHARS]
        message = (
            f"{server} answered {error.status_code}{tries}: {said or 'nothing more'}. {_advice(error.status_code)}"
        )
        return (RequestRefusedError if error.status_code in UNSUPPORTED else AuthorError)(message)
    if isinstance(error, openai.APITimeoutError):
        return AuthorError(f"{server} gave no whole reply in time{tries}. Raise --timeout-s or use a faster model.")
    cause = redact(str(error.__cause__ or error))[:SHOWN_CHARS]
    return AuthorError(f"The call to {server} failed{tries}: {cause}. Check {URL_VARIABLE} and the server.")


def _advice(status: int) -> str:
    if status in (401, 403):
        return f"Check {KEY_VARIABLE}."
    if status == 404:
        return f"Check --model and {URL_VARIABLE}."
    if status == 429:
        return "Wait, or ask less at once."
    return "Try again later, or another server." if status >= 500 else "The request does not suit this server."
