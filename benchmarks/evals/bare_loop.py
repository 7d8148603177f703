"""The least that does the work with one HTTP client: ask, check, append to a file. Runs in an environment of its own.

`python bare_loop.py aiohttp|httpx|openai BASE_URL KEY AT_ONCE MODEL…`
"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

client, base_url, key, at_once, *models = sys.argv[1:]


@asynccontextmanager
async def asking():
    """Give a function that asks once and returns the answer's text."""
    url, headers = f"{base_url}/chat/completions", {"authorization": f"Bearer {key}"}
    if client == "aiohttp":
        import aiohttp

        async with aiohttp.ClientSession(headers=headers) as session:

            async def ask(body):
                async with session.post(url, json=body) as response:
                    return (await response.json())["choices"][0]["message"]["content"]

            yield ask
    elif client == "httpx":
        import httpx

        async with httpx.AsyncClient(headers=headers) as session:

            async def ask(body):
                return (await session.post(url, json=body)).json()["choices"][0]["message"]["content"]

            yield ask
    else:
        import openai

        async with openai.AsyncOpenAI(base_url=base_url, api_key=key) as session:

            async def ask(body):
                return (await session.chat.completions.create(**body)).choices[0].message.content

            yield ask


async def main(cases, out):
    """Ask every model every case, a few at once."""
    work = iter([(model, case) for case in cases for model in models])
    async with asking() as ask:

        async def worker():
            for model, case in work:
                body = {"model": model, "messages": [{"role": "user", "content": case["text"]}], "temperature": 0}
                text = await ask(body)
                row = {"model": model, "text": text, "score": float(case["target"] in text)}
                out.write(json.dumps(row) + "\n")

        await asyncio.gather(*(worker() for _ in range(int(at_once))))


with Path("results.jsonl").open("w") as out:
    asyncio.run(main([json.loads(line) for line in Path("cases.jsonl").read_text().splitlines()], out))
