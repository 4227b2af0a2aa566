"""One call to an OpenAI-compatible server: limits on time and size, retries where they help, plain errors.

The address and key come from OPENAI_BASE_URL and OPENAI_API_KEY and from nowhere else. `openai` is imported when a
client is made, never with this module; it also retries.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tgrpo_envs.errors import AuthorError, ConfigError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.reward_tools.author.answer import SHOWN_CHARS, Answer, read_answer
from tgrpo_envs.reward_tools.author.ledger import Accounts, most_prompt_tokens, most_tokens
from tgrpo_envs.reward_tools.author.provenance import Usage
from tgrpo_envs.reward_tools.author.redaction import KEY_VARIABLE, URL_VARIABLE, is_url, public_url, redact

if TYPE_CHECKING:
    import httpx2
    import openai

MAX_BODY_BYTES = 1_000_000  # of an HTTP body; a spec has 4 kB
MAX_RETRIES = 2  # after 408, 409, 429, 5xx and dropped connections; a time-out would only take as long again

# What servers say, in lower case. A complaint about the form may count tokens too, so that is looked for first.
_FORM = re.compile(r"response_format|json_schema|json_object|schema|grammar|structured|guided|json mode")
_CONTEXT = re.compile(
    r"context.{0,40}(length|size|window|long|large|exceed|full)|exceed.{0,60}context|n_ctx|too many tokens"
    r"|(prompt|input|messages?|request).{0,40}too (long|large)"
    r"|max_(completion_)?tokens.{0,60}(too large|at most|exceed)"
)
_TEMPLATE = re.compile(r"alternat|system.{0,12}(role|message|prompt)|jinja|chat template")


class RequestRefusedError(AuthorError):
    """The server does not take requests like this one; another form may do.

    Args:
        message: The whole error.
        complaint: What the server said, in lower case.
    """

    def __init__(self, message: str, complaint: str) -> None:
        super().__init__(message)
        self.complaint = complaint


class ServerTroubleError(AuthorError):
    """The server failed or gave nothing in time; it may do better at another task."""


class ServerUnusableError(AuthorError):
    """No request would fare better: a wrong key, an unknown model, nobody there."""


@dataclass(frozen=True)
class Limits:
    """Limits of one call.

    Attributes:
        timeout_s: Longest wait for a whole reply, from the first byte sent to the last received, seconds.
        max_reply_tokens: Longest reply, tokens.
    """

    timeout_s: float = 180.0
    max_reply_tokens: int = 8192


class ChatServer:
    """An OpenAI-compatible server and one of its models.

    Args:
        model: The model's name.
        accounts: What may be spent; every request is checked against it and recorded.
        limits: Limits of one call.

    Attributes:
        name: Address without secrets, and model.

    Raises:
        ConfigError: Neither a key nor an address is set, or one is no such thing.
    """

    def __init__(self, model: str, accounts: Accounts, limits: Limits) -> None:
        with needs_extra("llm"):
            import httpx2
            import openai  # noqa: F401 - said here where it is missing, before anything is asked
        self._key, self._url = os.environ.get(KEY_VARIABLE, "").strip(), os.environ.get(URL_VARIABLE, "").strip()
        if not self._key and not self._url:
            raise ConfigError(f"Set {KEY_VARIABLE}, or {URL_VARIABLE} for a local server that needs no key.")
        if self._url and not is_url(self._url):
            raise ConfigError(f"{URL_VARIABLE} is no address such as http://localhost:8000/v1; correct it.")
        if not re.fullmatch(r"[!-~]*", self._key):
            raise ConfigError(f"{KEY_VARIABLE} must be printable ASCII without spaces; copy the key again.")
        self.model = model
        self.limits = limits
        self._accounts = accounts
        address = public_url(self._url or "https://api.openai.com/v1")
        self._tls = httpx2.create_ssl_context()  # a twentieth of a second, once
        self.name = redact(f"{address} {model}".encode("utf-8", errors="replace").decode())

    def send(self, request: dict[str, Any]) -> Answer:
        """Send a chat request and return the reply.

        Raises:
            BudgetError: The call could exceed a limit; nothing was sent.
            RequestRefusedError: The server does not take requests of this form.
            ServerTroubleError: It failed on every attempt, or was too slow.
            ServerUnusableError: It would fail at any request.
            AuthorError: The prompt does not fit, or the answer is no chat completion.
        """
        import openai

        started = time.monotonic()
        form = request.get("response_format")
        # Some servers put the schema into the prompt.
        prompt_tokens = most_prompt_tokens(request["messages"]) + (most_tokens(json.dumps(form)) if form else 0)
        try:
            body = asyncio.run(self._post(request, prompt_tokens))
        except openai.APIError as error:
            # Not `from error`: its request carries the key.
            raise _plain_error(error, self.name, prompt_tokens, self.limits) from None
        try:
            answer = read_answer(body, prompt_tokens, self.model)
        except AuthorError:
            self._record("failed", Usage(prompt_tokens=prompt_tokens, estimated=True), started)
            raise
        self._record("ok", answer.usage, started)
        return answer

    async def _post(self, request: dict[str, Any], prompt_tokens: int) -> str:
        import openai

        async with openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self._url or None,
            max_retries=MAX_RETRIES,
            default_headers={"Accept-Encoding": "identity"},  # a small compressed body may be a large one
            http_client=self._http(prompt_tokens),
        ) as client:
            raw = await client.chat.completions.with_raw_response.create(model=self.model, **request)
            text: str = raw.http_response.text
            return text

    def _http(self, prompt_tokens: int) -> httpx2.AsyncClient:
        """A client that counts every attempt, reads the whole answer, and keeps the limits of time and size."""
        import httpx2
        import openai

        server = self

        class Metered(httpx2.AsyncClient):
            async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
                server._accounts.reserve(prompt_tokens, server.limits.max_reply_tokens)
                started = time.monotonic()
                read = Usage(prompt_tokens=prompt_tokens, estimated=True)  # by whom, if it fails, nobody says
                try:
                    async with asyncio.timeout(server.limits.timeout_s):
                        response = await super().send(request, **{**options, "stream": True})
                        body = await _whole_body(response)
                except (TimeoutError, httpx2.TimeoutException):
                    server._record("timeout", read, started)
                    raise openai.APITimeoutError(request=request) from None  # the client does not retry its own errors
                except (httpx2.ConnectError, httpx2.UnsupportedProtocol):
                    server._record("failed", Usage(), started)
                    raise
                except (httpx2.HTTPError, openai.APIError):
                    server._record("failed", read, started)
                    raise
                if not response.is_success:
                    server._record(str(response.status_code), Usage(), started)
                # Without the type: its charset may be any of Python's codecs, JSON is UTF-8.
                headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
                return httpx2.Response(response.status_code, headers=headers, content=body, request=request)

        return Metered(verify=self._tls, timeout=self.limits.timeout_s, follow_redirects=False)

    def _record(self, status: str, usage: Usage, started: float) -> None:
        self._accounts.record(status, usage, time.monotonic() - started, server=self.name)


_KEPT_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")


async def _whole_body(response: httpx2.Response) -> bytes:
    """The body of an answer.

    Raises:
        openai.APIError: It is compressed, or too large.
    """
    import openai

    encoding, body = response.headers.get("content-encoding", "identity").lower(), b""
    complaint = "" if encoding == "identity" else f"a body compressed with {encoding}, though none was asked for"
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                complaint = f"a body of more than {MAX_BODY_BYTES} bytes"
            if complaint:
                raise openai.APIError(complaint, request=response.request, body=None)
    finally:
        await response.aclose()
    return body


def _plain_error(error: openai.APIError, server: str, prompt_tokens: int, limits: Limits) -> AuthorError:
    """What to tell of a failed call, and as which kind of error."""
    import httpx2
    import openai

    if isinstance(error, openai.APITimeoutError):
        return ServerTroubleError(
            f"{server} gave no whole reply in {limits.timeout_s:g} s. Raise --timeout-s or use a faster model."
        )
    if not isinstance(error, openai.APIStatusError):
        cause = redact(str(error.__cause__ or error))[:SHOWN_CHARS]
        nobody = isinstance(error.__cause__, httpx2.ConnectError | httpx2.UnsupportedProtocol)
        kind = ServerUnusableError if nobody else ServerTroubleError
        return kind(f"The call to {server} failed: {cause}. Check {URL_VARIABLE} and the server.")
    status, said = error.status_code, " ".join(redact(error.response.text).split())[:SHOWN_CHARS]
    message = f"{server} answered {status}: {said or 'nothing more'}."
    complaint = said.lower()
    if status in (401, 403):
        return ServerUnusableError(f"{message} Check {KEY_VARIABLE}.")
    if status == 404:
        return ServerUnusableError(f"{message} Check --model and {URL_VARIABLE}.")
    refused = status in (400, 413, 422) or (status >= 500 and bool(_FORM.search(complaint)))
    if (refused or status >= 500) and _CONTEXT.search(complaint) and not _FORM.search(complaint):
        return AuthorError(
            f"{message} The prompt (at most {prompt_tokens} tokens) and a reply of {limits.max_reply_tokens} do not "
            "fit: lower --max-reply-tokens, or give the server a larger context."
        )
    if refused or _TEMPLATE.search(complaint):
        return RequestRefusedError(f"{message} The request does not suit this server.", complaint)
    advice = "Wait, or ask less at once." if status == 429 else "Try again later, or another server."
    return ServerTroubleError(f"{message} {advice}")
