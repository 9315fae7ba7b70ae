"""Perdure: agents that survive crashes, wait for people and go on.

    from perdure import Agent, run, tool

This is the one public door: what is not named in `__all__` may change without notice. Each name is imported
when it is first used, so that importing the package does no I/O, starts nothing and takes next to no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure.agents.agent import Agent as Agent
    from perdure.agents.budget import Budget as Budget
    from perdure.agents.callbacks import CallbackHandler as CallbackHandler
    from perdure.agents.compose import agent as agent
    from perdure.agents.compose import plan_execute as plan_execute
    from perdure.agents.compose import scatter_gather as scatter_gather
    from perdure.agents.context import ToolContext as ToolContext
    from perdure.agents.guardrails import Guardrail as Guardrail
    from perdure.agents.guardrails import GuardrailResult as GuardrailResult
    from perdure.agents.guardrails import LLMGuardrail as LLMGuardrail
    from perdure.agents.guardrails import OnFail as OnFail
    from perdure.agents.guardrails import Position as Position
    from perdure.agents.guardrails import RegexGuardrail as RegexGuardrail
    from perdure.agents.guardrails import guardrail as guardrail
    from perdure.agents.handoffs import HandoffCondition as HandoffCondition
    from perdure.agents.handoffs import OnCondition as OnCondition
    from perdure.agents.handoffs import OnTextMention as OnTextMention
    from perdure.agents.handoffs import OnToolResult as OnToolResult
    from perdure.agents.handoffs import TextGate as TextGate
    from perdure.agents.memory import ConversationMemory as ConversationMemory
    from perdure.agents.plan_steps import Action as Action
    from perdure.agents.plan_steps import Context as Context
    from perdure.agents.plan_steps import Generate as Generate
    from perdure.agents.plan_steps import Op as Op
    from perdure.agents.plan_steps import Plan as Plan
    from perdure.agents.plan_steps import Ref as Ref
    from perdure.agents.plan_steps import Step as Step
    from perdure.agents.plan_steps import Validation as Validation
    from perdure.agents.results import AgentEvent as AgentEvent
    from perdure.agents.results import AgentResult as AgentResult
    from perdure.agents.results import AgentStatus as AgentStatus
    from perdure.agents.results import EventType as EventType
    from perdure.agents.results import FinishReason as FinishReason
    from perdure.agents.results import Status as Status
    from perdure.agents.results import TokenUsage as TokenUsage
    from perdure.agents.strategy import Strategy as Strategy
    from perdure.agents.team_tools import agent_tool as agent_tool
    from perdure.agents.team_tools import human_tool as human_tool
    from perdure.agents.team_tools import wait_for_message_tool as wait_for_message_tool
    from perdure.agents.template import PromptTemplate as PromptTemplate
    from perdure.agents.termination import MaxMessageTermination as MaxMessageTermination
    from perdure.agents.termination import StopMessageTermination as StopMessageTermination
    from perdure.agents.termination import TerminationCondition as TerminationCondition
    from perdure.agents.termination import TextMentionTermination as TextMentionTermination
    from perdure.agents.termination import TokenUsageTermination as TokenUsageTermination
    from perdure.agents.tools import PrefillToolCall as PrefillToolCall
    from perdure.agents.tools import ToolDef as ToolDef
    from perdure.agents.tools import tool as tool
    from perdure.client.functions import configure as configure
    from perdure.client.functions import deploy as deploy
    from perdure.client.functions import deploy_async as deploy_async
    from perdure.client.functions import plan as plan
    from perdure.client.functions import plan_async as plan_async
    from perdure.client.functions import resume as resume
    from perdure.client.functions import resume_async as resume_async
    from perdure.client.functions import run as run
    from perdure.client.functions import run_async as run_async
    from perdure.client.functions import serve as serve
    from perdure.client.functions import serve_async as serve_async
    from perdure.client.functions import shutdown as shutdown
    from perdure.client.functions import shutdown_async as shutdown_async
    from perdure.client.functions import start as start
    from perdure.client.functions import start_async as start_async
    from perdure.client.functions import stream as stream
    from perdure.client.functions import stream_async as stream_async
    from perdure.client.handle import AgentHandle as AgentHandle
    from perdure.client.histories import ExecutionDiff as ExecutionDiff
    from perdure.client.runtime import AgentRuntime as AgentRuntime
    from perdure.client.runtime import Deployment as Deployment
    from perdure.client.stream import AgentStream as AgentStream
    from perdure.core.errors import ApiError as ApiError
    from perdure.core.errors import ClientError as ClientError
    from perdure.core.errors import DefinitionError as DefinitionError
    from perdure.core.errors import ExecutionError as ExecutionError
    from perdure.core.errors import JournalError as JournalError
    from perdure.core.errors import ModelError as ModelError
    from perdure.core.errors import PerdureError as PerdureError
    from perdure.core.errors import SemanticMemoryError as SemanticMemoryError
    from perdure.core.errors import ToolError as ToolError
    from perdure.memory.embedders import WordLlamaEmbedder as WordLlamaEmbedder
    from perdure.memory.entries import NewMemory as NewMemory
    from perdure.memory.filters import MemoryFilter as MemoryFilter
    from perdure.memory.memory import SemanticMemory as SemanticMemory
    from perdure.memory.ports import Embedder as Embedder
    from perdure.memory.ports import MemoryEntry as MemoryEntry
    from perdure.memory.ports import MemoryStore as MemoryStore
    from perdure.memory.semantic import AsyncSemanticMemory as AsyncSemanticMemory
    from perdure.memory.stores.chroma import ChromaStore as ChromaStore
    from perdure.memory.stores.in_process import InProcessStore as InProcessStore
    from perdure.memory.stores.pgvector import PgVectorStore as PgVectorStore
    from perdure.memory.stores.qdrant import QdrantStore as QdrantStore
    from perdure.memory.stores.sqlite_vec import SqliteVecStore as SqliteVecStore

    __version__: str

__all__ = [
    "Action",
    "Agent",
    "AgentEvent",
    "AgentHandle",
    "AgentResult",
    "AgentRuntime",
    "AgentStatus",
    "AgentStream",
    "ApiError",
    "AsyncSemanticMemory",
    "Budget",
    "CallbackHandler",
    "ChromaStore",
    "ClientError",
    "Context",
    "ConversationMemory",
    "DefinitionError",
    "Deployment",
    "Embedder",
    "EventType",
    "ExecutionDiff",
    "ExecutionError",
    "FinishReason",
    "Generate",
    "Guardrail",
    "GuardrailResult",
    "HandoffCondition",
    "InProcessStore",
    "JournalError",
    "LLMGuardrail",
    "MaxMessageTermination",
    "MemoryEntry",
    "MemoryFilter",
    "MemoryStore",
    "ModelError",
    "NewMemory",
    "OnCondition",
    "OnFail",
    "OnTextMention",
    "OnToolResult",
    "Op",
    "PerdureError",
    "PgVectorStore",
    "Plan",
    "Position",
    "PrefillToolCall",
    "PromptTemplate",
    "QdrantStore",
    "Ref",
    "RegexGuardrail",
    "SemanticMemory",
    "SemanticMemoryError",
    "SqliteVecStore",
    "Status",
    "Step",
    "StopMessageTermination",
    "Strategy",
    "TerminationCondition",
    "TextGate",
    "TextMentionTermination",
    "TokenUsage",
    "TokenUsageTermination",
    "ToolContext",
    "ToolDef",
    "ToolError",
    "Validation",
    "WordLlamaEmbedder",
    "agent",
    "agent_tool",
    "configure",
    "deploy",
    "deploy_async",
    "guardrail",
    "human_tool",
    "plan",
    "plan_async",
    "plan_execute",
    "resume",
    "resume_async",
    "run",
    "run_async",
    "scatter_gather",
    "serve",
    "serve_async",
    "shutdown",
    "shutdown_async",
    "start",
    "start_async",
    "stream",
    "stream_async",
    "tool",
    "wait_for_message_tool",
]

# module -> the public names behind it
_DOORS: dict[str, tuple[str, ...]] = {
    "perdure.agents.agent": ("Agent",),
    "perdure.agents.budget": ("Budget",),
    "perdure.agents.callbacks": ("CallbackHandler",),
    "perdure.agents.compose": ("agent", "plan_execute", "scatter_gather"),
    "perdure.agents.context": ("ToolContext",),
    "perdure.agents.guardrails": (
        *("Guardrail", "GuardrailResult", "LLMGuardrail", "OnFail", "Position"),
        *("RegexGuardrail", "guardrail"),
    ),
    "perdure.agents.handoffs": (
        "HandoffCondition",
        "OnCondition",
        "OnTextMention",
        "OnToolResult",
        "TextGate",
    ),
    "perdure.agents.memory": ("ConversationMemory",),
    "perdure.agents.plan_steps": (
        *("Action", "Context", "Generate", "Op", "Plan"),
        *("Ref", "Step", "Validation"),
    ),
    "perdure.agents.results": (
        *("AgentEvent", "AgentResult", "AgentStatus", "EventType", "FinishReason"),
        *("Status", "TokenUsage"),
    ),
    "perdure.agents.strategy": ("Strategy",),
    "perdure.agents.team_tools": ("agent_tool", "human_tool", "wait_for_message_tool"),
    "perdure.agents.template": ("PromptTemplate",),
    "perdure.agents.termination": (
        "MaxMessageTermination",
        "StopMessageTermination",
        "TerminationCondition",
        "TextMentionTermination",
        "TokenUsageTermination",
    ),
    "perdure.agents.tools": ("PrefillToolCall", "ToolDef", "tool"),
    "perdure.client.functions": (
        *("configure", "deploy", "deploy_async", "plan", "plan_async"),
        *("resume", "resume_async", "run", "run_async", "serve"),
        *("serve_async", "shutdown", "shutdown_async", "start", "start_async"),
        *("stream", "stream_async"),
    ),
    "perdure.client.handle": ("AgentHandle",),
    "perdure.client.histories": ("ExecutionDiff",),
    "perdure.client.runtime": ("AgentRuntime", "Deployment"),
    "perdure.client.stream": ("AgentStream",),
    "perdure.core.errors": (
        *("ApiError", "ClientError", "DefinitionError", "ExecutionError", "JournalError"),
        *("ModelError", "PerdureError", "SemanticMemoryError", "ToolError"),
    ),
    "perdure.memory.embedders": ("WordLlamaEmbedder",),
    "perdure.memory.entries": ("NewMemory",),
    "perdure.memory.filters": ("MemoryFilter",),
    "perdure.memory.memory": ("SemanticMemory",),
    "perdure.memory.ports": (
        "Embedder",
        "MemoryEntry",
        "MemoryStore",
    ),
    "perdure.memory.semantic": ("AsyncSemanticMemory",),
    "perdure.memory.stores.chroma": ("ChromaStore",),
    "perdure.memory.stores.in_process": ("InProcessStore",),
    "perdure.memory.stores.pgvector": ("PgVectorStore",),
    "perdure.memory.stores.qdrant": ("QdrantStore",),
    "perdure.memory.stores.sqlite_vec": ("SqliteVecStore",),
}
_HOMES = {name: module for module, names in _DOORS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # a third of what the quickstart's imports would cost

        value: Any = version("perdure")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
