"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`."""

from __future__ import annotations

import pytest
from lane import Gateway
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr


class Invoice(BaseModel):
    """An invoice."""

    number: str
    paid: bool


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@pytest.fixture
def chat(gateway: Gateway) -> ChatOpenAI:
    return ChatOpenAI(model="summarise", base_url=gateway.url, api_key=SecretStr(gateway.key))


def test_a_message_is_answered(chat: ChatOpenAI) -> None:
    answer = chat.invoke([SystemMessage("Be short."), HumanMessage("The ferry is late.")])
    assert answer.content == "The ferry is late."
    assert answer.response_metadata["model_name"] == "summarise"
    assert answer.usage_metadata is not None


async def test_a_message_is_streamed(chat: ChatOpenAI) -> None:
    assert "".join(str(chunk.content) for chunk in chat.stream("one two three")) == "one two three"
    assert "".join([str(chunk.content) async for chunk in chat.astream("one two three")]) == "one two three"


def test_a_bound_tool_is_called_and_its_result_goes_back(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([weather])
    asked = HumanMessage('call weather {"city": "Bergen"}')
    first = bound.invoke([asked])
    assert isinstance(first, AIMessage)
    [call] = first.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Bergen"})
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert bound.invoke([asked, first, result, HumanMessage("so it rains?")]).content == "so it rains?"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_an_object_of_the_class(chat: ChatOpenAI, method: str) -> None:
    shaped = chat.with_structured_output(Invoice, method=method)  # pyright: ignore
    text = 'call Invoice {"number": "7", "paid": true}' if method == "function_calling" else "Invoice 7, paid"
    assert isinstance(shaped.invoke(text), Invoice)


def test_texts_become_vectors(gateway: Gateway) -> None:
    # It counts tokens with a vocabulary that it would fetch from the network, unless it is told not to.
    embeddings = OpenAIEmbeddings(
        model="summarise",
        base_url=gateway.url,
        api_key=SecretStr(gateway.key),
        check_embedding_ctx_length=False,
    )
    one, other, again = embeddings.embed_documents(["a ferry", "a train", "a ferry"])
    assert one == again != other
    assert embeddings.embed_query("a ferry") == pytest.approx(one)


def test_the_responses_api_can_be_used_instead(gateway: Gateway) -> None:
    chat = ChatOpenAI(model="summarise", base_url=gateway.url, api_key=SecretStr(gateway.key), use_responses_api=True)
    assert chat.invoke("The ferry is late.").text == "The ferry is late."
