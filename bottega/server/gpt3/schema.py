"""What the routes of the GPT-3 era take and give, as OpenAI specified them in 2022."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from bottega.server.embeddings_schema import EmbeddingRequest
from bottega.server.schema import Completion, CompletionRequest, Text, Usage

Words = Annotated[Text, Field(min_length=1)]
Pair = Annotated[list[Words], Field(min_length=2, max_length=2)]
Bias = dict[str, Annotated[float, Field(ge=-100, le=100)]]
Ranked = Annotated[int, Field(ge=1, le=1000)]  # documents of a file; the model reads every one of them
Expandable = Literal["completion", "file"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Engine(BaseModel):
    """A served model under its older name."""

    id: str
    object: Literal["engine"] = "engine"
    created: int | None
    owner: str = "bottega"
    ready: bool


class EngineList(BaseModel):
    """The answer of GET /v1/engines."""

    object: Literal["list"] = "list"
    data: list[Engine]


class EngineCompletionRequest(CompletionRequest):
    """The body of POST /v1/engines/{id}/completions: the path names the model."""

    model: str = Field("", description="May be left out; it must be the engine of the path.")


class EngineEmbeddingRequest(EmbeddingRequest):
    """The body of POST /v1/engines/{id}/embeddings: the path names the model."""

    model: str = Field("", description="May be left out; it must be the engine of the path.")


class SearchRequest(_Body):
    """The body of POST /v1/engines/{id}/search: `documents` or a `file`, not both."""

    query: Words
    documents: Annotated[list[Text], Field(min_length=1, max_length=200)] | None = None
    file: str | None = Field(None, description="A file of purpose search, or answers.")
    max_rerank: Ranked | None = Field(None, description="With a file: 200 documents by default.")
    return_metadata: bool | None = Field(None, description="With a file: each document's metadata.")
    user: str | None = None


class SearchResult(BaseModel):
    """A document's score: positive, about 69 where it says nothing of the query, above 200 where much."""

    object: Literal["search_result"] = "search_result"
    document: int
    score: float
    text: str | None = None
    metadata: Any = None


class SearchResults(BaseModel):
    """The answer of a search: inline documents in their order, those of a file the best first."""

    object: Literal["list"] = "list"
    model: str
    data: list[SearchResult]


class _FewShotRequest(_Body):
    """What classifications and answers share."""

    model: str
    file: str | None = None
    search_model: str | None = Field(None, description="The model that searches; the same by default.")
    temperature: float | None = Field(None, ge=0, le=2, description="0 by default.")
    logprobs: int | None = Field(None, ge=0, le=5, description="Expands the completion, which has them.")
    logit_bias: Bias | None = None
    return_prompt: bool | None = None
    return_metadata: bool | None = None
    expand: list[Expandable] | None = None
    user: str | None = None


class ClassificationRequest(_FewShotRequest):
    """The body of POST /v1/classifications: `examples` or a `file`, not both."""

    query: Words
    examples: Annotated[list[Pair], Field(min_length=2, max_length=200)] | None = Field(
        None, description="Pairs of a text and its label."
    )
    labels: Annotated[list[Words], Field(min_length=2, max_length=200)] | None = Field(
        None, description="The labels to choose from; those of the examples by default."
    )
    max_examples: Ranked | None = Field(None, description="With a file: 200 examples by default.")


class AnswerRequest(_FewShotRequest):
    """The body of POST /v1/answers: `documents` or a `file`, not both."""

    question: Words
    examples: Annotated[list[Pair], Field(min_length=1, max_length=200)] = Field(
        description="Pairs of a question and its answer."
    )
    examples_context: Text = Field(description="The text from which the examples' answers follow.")
    documents: Annotated[list[Text], Field(max_length=200)] | None = None
    max_rerank: Ranked | None = Field(None, description="With a file: 200 documents by default.")
    max_tokens: int | None = Field(None, ge=0, description="16 by default.")
    stop: Text | list[Text] | None = None
    n: int | None = Field(None, ge=1, le=10)


class EditRequest(_Body):
    """The body of POST /v1/edits."""

    model: str
    instruction: Words
    input: Text | None = None
    n: int | None = Field(None, ge=1, le=20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)


class Selected(BaseModel):
    """A document that went into the prompt; `document` is its place among those given."""

    document: int
    text: str
    metadata: Any = None


class SelectedExample(Selected):
    """An example that went into the prompt."""

    label: str


class _FewShotAnswer(BaseModel):
    """What the answers of both share; an expanded completion or file stands there whole."""

    model: str
    search_model: str
    completion: str | Completion
    file: str | dict[str, Any] | None = None
    prompt: str | None = None

    def respond(self, asked: _FewShotRequest, selected: str) -> Response:
        """As JSON, without the fields that were not asked for; `selected` holds what went into the prompt."""
        left_out: dict[str, Any] = {"file": asked.file is None, "prompt": not asked.return_prompt}
        if not asked.return_metadata or asked.file is None:
            left_out[selected] = {"__all__": {"metadata"}}
        exclude = {name: what for name, what in left_out.items() if what}
        return Response(self.model_dump_json(exclude=exclude), media_type="application/json")


class Classification(_FewShotAnswer):
    """The answer of POST /v1/classifications."""

    object: Literal["classification"] = "classification"
    label: str
    selected_examples: list[SelectedExample]


class Answer(_FewShotAnswer):
    """The answer of POST /v1/answers."""

    object: Literal["answer"] = "answer"
    answers: list[str]
    selected_documents: list[Selected]


class EditChoice(BaseModel):
    """One edited text."""

    text: str
    index: int
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Edit(BaseModel):
    """The answer of POST /v1/edits."""

    id: str
    object: Literal["edit"] = "edit"
    created: int
    model: str
    choices: list[EditChoice]
    usage: Usage
