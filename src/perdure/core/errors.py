"""The one error tree, and the table of stable codes.

    PerdureError                 everything this library raises on purpose
    ├── DefinitionError          E01xx  an agent, tool or definition is wrong
    ├── ModelError               E02xx  a model cannot be called, or its call failed
    ├── ToolError                E03xx  a tool, a task or a worker
    ├── ExecutionError           E04xx  an execution: not found, conflict, outcome
    ├── JournalError             E05xx  storage: full, locked, corrupt, newer schema
    ├── ApiError                 E06xx  the server's door: auth, limits, malformed requests
    ├── ClientError              E07xx  the SDK and the command line
    └── SemanticMemoryError      E08xx  what agents remember over sessions

Every error says what happened, where, why and how to fix it, and carries a code that never changes its
meaning. The same five fields cross the wire (`to_wire`, `from_wire`), so that the server's error is the
client's error. Codes are data (`CODES`): a test asserts that each has a page in `docs/errors.md`.
"""

from typing import Any, ClassVar

# code -> (slug, HTTP status, one-line title). Append only: a released code keeps its meaning for ever.
CODES: dict[str, tuple[str, int, str]] = {
    # E01xx definitions
    "E0101": ("invalid_definition", 400, "The definition is not valid"),
    "E0102": ("newer_definition", 400, "The definition was written by a newer version"),
    "E0103": ("duplicate_tool", 400, "Two tools or agents have the same name"),
    "E0104": ("invalid_name", 400, "A name has characters that are not allowed"),
    "E0105": ("unsupported_type", 400, "A type hint has no JSON Schema"),
    "E0106": ("invalid_option", 400, "An option has a value outside its range"),
    "E0107": ("invalid_model", 400, "The model is not written as provider/model"),
    # E02xx models
    "E0201": ("unknown_provider", 400, "No provider has this name"),
    "E0202": ("missing_key", 400, "The provider's key is not set"),
    "E0203": ("missing_extra", 400, "The provider's library is not installed"),
    "E0204": ("model_rejected", 502, "The provider refused the request"),
    "E0205": ("model_auth", 502, "The provider refused the key"),
    "E0206": ("model_rate_limited", 429, "The provider's rate limit was reached"),
    "E0207": ("model_unavailable", 502, "The provider could not be reached or is overloaded"),
    "E0208": ("model_timeout", 504, "The model did not answer in time"),
    "E0209": ("model_malformed_reply", 502, "The provider's answer could not be understood"),
    "E0210": ("context_too_long", 400, "The conversation does not fit the model"),
    "E0211": ("mock_script", 400, "The mock model's script is wrong or ran out"),
    # E03xx tools, tasks, workers
    "E0301": ("tool_failed", 500, "The tool raised an error"),
    "E0302": ("tool_timeout", 504, "The tool did not finish in time"),
    "E0303": ("tool_result_not_json", 500, "The tool's result is not JSON"),
    "E0304": ("unknown_tool", 400, "The agent has no tool of this name"),
    "E0305": ("invalid_arguments", 400, "The arguments do not fit the tool's schema"),
    "E0306": ("max_calls", 400, "The tool was called as often as it may be"),
    "E0307": ("stale_epoch", 409, "The attempt is over: another one holds the lease"),
    "E0308": ("outcome_unknown", 500, "It is not known whether the attempt took effect"),
    "E0309": ("tool_not_served", 404, "The worker has no function for this tool"),
    "E0310": ("result_too_large", 413, "The tool's result is larger than the limit"),
    "E0311": ("invalid_task_token", 403, "The task token is not the one of this attempt"),
    "E0312": ("no_worker", 503, "No worker serves this tool"),
    "E0313": ("invalid_answer", 500, "A function returned what it may not"),
    "E0314": ("guardrail_blocked", 400, "A guardrail blocked the call"),
    "E0315": ("not_run", 409, "The call was not run: the agent handed over"),
    # E04xx executions
    "E0401": ("execution_not_found", 404, "No execution has this id"),
    "E0402": ("execution_over", 409, "The execution has ended"),
    "E0403": ("max_turns", 500, "The agent used all its turns without an answer"),
    "E0404": ("execution_timeout", 504, "The execution ran out of time"),
    "E0405": ("execution_failed", 500, "The execution failed"),
    "E0406": ("execution_cancelled", 409, "The execution was cancelled"),
    "E0407": ("approval_not_found", 404, "No approval has this id"),
    "E0408": ("approval_decided", 409, "The approval has been decided already"),
    "E0409": ("approval_mismatch", 409, "The decision is about something else than what would run"),
    "E0410": ("output_invalid", 500, "The answer does not fit the output type"),
    "E0411": ("quarantined", 500, "The execution was set aside after repeated engine faults"),
    "E0412": ("agent_not_found", 404, "No deployed agent has this name"),
    "E0413": ("idempotency_conflict", 409, "The idempotency key was used for another request"),
    "E0414": ("illegal_transition", 500, "An event does not fit the state of the machine"),
    "E0415": ("not_waiting", 409, "The execution does not wait for this"),
    "E0416": ("several_approvals", 409, "Several approvals wait: it must be said which is meant"),
    "E0417": ("function_failed", 500, "A function that decides did not decide"),
    "E0418": ("child_failed", 500, "An agent of the team failed"),
    "E0419": ("required_tools", 500, "The agent answered without calling a tool that it must call"),
    "E0420": ("too_deep", 400, "Agents call each other too deep"),
    "E0421": ("answer_invalid", 400, "The answer does not fit the question"),
    "E0422": ("guardrail", 500, "A guardrail stopped the execution"),
    "E0424": ("budget", 402, "The budget is used up"),
    "E0425": ("no_plan", 500, "There is no plan that can be carried out"),
    "E0426": ("plan_failed", 500, "The plan failed"),
    "E0431": ("not_recorded", 409, "The replay's recording does not have this call"),
    "E0432": ("no_such_point", 400, "The execution cannot be taken up at this point"),
    "E0433": ("nothing_to_retry", 409, "The execution has not failed"),
    # E05xx storage
    "E0501": ("journal_full", 503, "The disk is full"),
    "E0502": ("journal_locked", 409, "Another server uses this data directory"),
    "E0503": ("journal_corrupt", 500, "The journal's checksum does not match"),
    "E0504": ("journal_newer", 500, "The journal was written by a newer version"),
    "E0505": ("journal_conflict", 409, "The execution moved on in the meantime"),
    "E0506": ("journal_unavailable", 503, "The journal cannot be written at the moment"),
    "E0507": ("sqlite_too_old", 500, "This SQLite build can corrupt a WAL file"),
    "E0508": ("not_storable", 400, "A value cannot be stored in the journal"),
    # E06xx the server's door
    "E0601": ("unauthorized", 401, "The request has no valid key"),
    "E0602": ("forbidden_host", 403, "The request names a host that is not allowed"),
    "E0603": ("forbidden_origin", 403, "The request comes from another origin"),
    "E0604": ("body_too_large", 413, "The request is larger than the limit"),
    "E0605": ("malformed_request", 400, "The request is not valid"),
    "E0606": ("not_found", 404, "There is nothing at this address"),
    "E0607": ("method_not_allowed", 405, "The address does not take this method"),
    "E0608": ("unsupported_media_type", 415, "The request must be JSON"),
    "E0609": ("internal", 500, "The server met an error it did not expect"),
    "E0610": ("stopping", 503, "The server is stopping"),
    "E0611": ("invalid_text", 400, "The text has characters that cannot be stored"),
    "E0612": ("unsafe_bind", 400, "The server would listen beyond this machine"),
    "E0613": ("key_file_unusable", 500, "A key file of the data directory cannot be used"),
    "E0614": ("port_in_use", 409, "Another program listens on the port"),
    "E0615": ("too_many_requests", 429, "There are too many requests of this kind"),
    # E07xx the SDK and the command line
    "E0701": ("server_unreachable", 503, "No server answers at this address"),
    "E0702": ("server_did_not_start", 503, "The background server did not start"),
    "E0703": ("version_mismatch", 400, "The server and the SDK do not understand each other"),
    "E0704": ("empty_prompt", 400, "There is nothing to run"),
    "E0705": ("wait_timeout", 504, "The execution did not end while this call waited"),
    "E0706": ("agent_not_importable", 400, "The agent cannot be imported from this reference"),
    "E0707": ("runtime_configured", 400, "The runtime exists already"),
    "E0708": ("local_model", 502, "The local model cannot be used"),
    "E0715": ("bad_recording", 400, "The file is not a recording that can be replayed"),
    # E08xx semantic memory
    "E0801": ("memory_extra", 400, "The library of a memory store or an embedder is not installed"),
    "E0802": ("memory_invalid", 400, "A memory entry, a query or a filter is not valid"),
    "E0803": ("memory_space", 409, "The memory holds vectors of another embedder"),
    "E0804": ("memory_conflict", 409, "The idempotency key was used for another text"),
    "E0805": ("memory_unavailable", 503, "The memory store cannot be reached or written at the moment"),
    "E0806": ("memory_unreadable", 500, "The memory's data is damaged or of a newer version"),
    "E0807": ("memory_closed", 409, "The memory is closed"),
    "E0808": ("embedder_failed", 502, "The embedder gave no usable vector"),
}


class PerdureError(Exception):
    """An error with a stable code.

    Args:
        code: a key of `CODES`.
        what: what happened, one sentence.
        where: the agent, tool, execution, step, file or request it happened in.
        why: the cause, when it is known.
        fix: what the reader can do now.
        fields: further JSON values for programs (never needed to understand the message).
    """

    family: ClassVar[str] = ""

    def __init__(
        self, code: str, what: str, *, where: str = "", why: str = "", fix: str = "", **fields: Any
    ) -> None:
        self.code = code
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix
        self.fields = fields
        super().__init__(what)

    @property
    def slug(self) -> str:
        """The code's name, e.g. `missing_key`."""
        return CODES[self.code][0]

    @property
    def http_status(self) -> int:
        """The status with which the server answers this error."""
        return CODES[self.code][1]

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.what}"]
        lines += [
            f"  {label}: {text}"
            for label, text in (("where", self.where), ("why", self.why), ("fix", self.fix))
            if text
        ]
        return "\n".join(lines)

    def to_wire(self) -> dict[str, Any]:
        """The error as a JSON object, the same in API answers, events and command line output."""
        wire: dict[str, Any] = {"code": self.code, "slug": self.slug, "what": self.what}
        wire |= {k: v for k in ("where", "why", "fix") if (v := getattr(self, k))}
        if self.fields:
            wire["fields"] = self.fields
        return wire


class DefinitionError(PerdureError, ValueError):
    """An agent, a tool or a definition is wrong (E01xx)."""

    family = "E01"


class ModelError(PerdureError):
    """A model cannot be called, or its call failed (E02xx).

    Attributes:
        retryable: whether the same call may succeed later.
        retry_after_ms: how long the provider asked to wait, when it did.
    """

    family = "E02"

    def __init__(
        self, code: str, what: str, *, retryable: bool = False, retry_after_ms: int | None = None, **kw: Any
    ) -> None:
        super().__init__(code, what, **kw)
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class ToolError(PerdureError):
    """A tool, a task or a worker (E03xx)."""

    family = "E03"


class ExecutionError(PerdureError):
    """An execution: not found, a conflict, or its outcome (E04xx)."""

    family = "E04"


class JournalError(PerdureError):
    """Storage: full, locked, corrupt, or written by a newer version (E05xx)."""

    family = "E05"


class ApiError(PerdureError):
    """The server's door: authentication, limits, malformed requests (E06xx)."""

    family = "E06"


class ClientError(PerdureError):
    """The SDK and the command line (E07xx)."""

    family = "E07"


class SemanticMemoryError(PerdureError):
    """Semantic memory: a store, an embedder, or what they are given (E08xx)."""

    family = "E08"


FAMILIES: tuple[type[PerdureError], ...] = (
    DefinitionError,
    ModelError,
    ToolError,
    ExecutionError,
    JournalError,
    ApiError,
    ClientError,
    SemanticMemoryError,
)


def from_wire(wire: dict[str, Any]) -> PerdureError:
    """The error that `to_wire` wrote; an unknown code (a newer server's) becomes E0609 and keeps its text."""
    code = str(wire.get("code", ""))
    what = str(wire.get("what", "The server answered with an error"))
    texts = {k: str(wire.get(k, "")) for k in ("where", "why", "fix")}
    if code not in CODES:
        return ApiError("E0609", f"{what} ({code})" if code else what, **texts)
    family = next(f for f in FAMILIES if code.startswith(f.family))
    fields = wire.get("fields")
    return family(code, what, **texts, **(fields if isinstance(fields, dict) else {}))
