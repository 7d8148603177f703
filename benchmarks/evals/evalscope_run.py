"""The work as a benchmark of evalscope, one run for each model; runs in that tool's own environment.

`python evalscope_run.py BASE_URL KEY AT_ONCE PATTERN DIRECTORY MODEL…`
"""

import re
import sys
from pathlib import Path

from evalscope.api.benchmark import BenchmarkMeta, DefaultDataAdapter  # pyright: ignore[reportMissingImports]
from evalscope.api.dataset import Sample  # pyright: ignore[reportMissingImports]
from evalscope.api.registry import register_benchmark  # pyright: ignore[reportMissingImports]
from evalscope.config import TaskConfig  # pyright: ignore[reportMissingImports]
from evalscope.run import run_task  # pyright: ignore[reportMissingImports]

base_url, key, at_once, pattern, directory, *models = sys.argv[1:]


@register_benchmark(
    BenchmarkMeta(
        name="one_line",
        pretty_name="One line",
        description="Does the answer contain a word.",
        dataset_id=str(Path(directory) / "cases"),
        subset_list=["one_line"],
        metric_list=["exact_match"],
        few_shot_num=0,
        eval_split="test",
        prompt_template="{question}",
    )
)
class OneLine(DefaultDataAdapter):
    def load_from_disk(self, **kwargs):
        return super().load_from_disk(use_local_loader=True)

    def record_to_sample(self, record):
        return Sample(input=record["text"], target=record["target"])

    def extract_answer(self, prediction, task_state):
        found = re.search(pattern, prediction)
        return found.group(0) if found else ""


for model in models:
    work = Path(directory) / "out" / model
    run_task(
        TaskConfig(
            model=model,
            api_url=base_url,
            api_key=key,
            eval_type="openai_api",
            datasets=["one_line"],
            eval_batch_size=int(at_once),
            generation_config={"temperature": 0},
            work_dir=str(work),
            no_timestamp=True,
            use_cache=str(work) if work.exists() else None,
        )
    )
