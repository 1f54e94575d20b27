"""Validation across settings, and of settings that are text; `fields.py` validates single values."""

import json
import math
import re
from typing import Any

from tl_toolkit.config.fields import read_yaml
from tl_toolkit.io.files import parse_size
from tl_toolkit.text import format_value, named

AUTO = "auto"

CHECKPOINT_EVERY = r"0*[1-9][0-9]{0,15}[smh]?"
TIME = r"(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,3})?[smh]"


def problems_between(config: Any) -> list[str]:
    """Return what is wrong with a FinetuneConfig, whose values may have wrong types, a sentence each."""
    problems: list[str] = []
    if config.in_channels == 2:
        problems.append(f"{named('in_channels')} must be 1 or 3, not 2.")
    if config.classes == 1 and config.loss == "cross-entropy":
        problems.append(
            f"{named('loss')} must be bce with one logit ({named('classes', 1)}): cross-entropy compares two or more."
        )
    problems += _problems_with_task(config)
    if config.class_weights == config.sampler == "balanced":
        problems.append(
            f"{named('class_weights')} and {named('sampler')} are both balanced, which would make rare classes count "
            "twice: choose one."
        )
    problems += _problems_with_parts(config.batch_size, config.accumulate)
    rate = config.probe_learning_rate
    if isinstance(rate, str) and rate != AUTO and not _is_rate(rate):
        problems.append(f"{named('probe_learning_rate')} must be auto or a number above 0, not {format_value(rate)}.")
    if isinstance(config.cache_size, str) and parse_size(config.cache_size) is None:
        problems.append(
            f"{named('cache_size')} must be a size such as 500MB or 20GiB, not {format_value(config.cache_size)}."
        )
    every = config.checkpoint_every
    if isinstance(every, str) and not re.fullmatch(CHECKPOINT_EVERY, every):
        problems.append(
            f"{named('checkpoint_every')} must be a number of steps such as 50, or a time such as 30s, 5m or 1h, "
            f"not {format_value(every)}."
        )
    if isinstance(config.time_budget, str) and not re.fullmatch(TIME, config.time_budget):
        problems.append(
            f"{named('time_budget')} must be a time such as 90s, 10m or 2h, not {format_value(config.time_budget)}."
        )
    if isinstance(config.arch_options, tuple):
        problems += [problem for option in config.arch_options if (problem := _problem_with_option(option))]
    return problems


def _problems_with_task(config: Any) -> list[str]:
    """Return which settings contradict several labels an image or soft labels."""
    task = config.task
    if task not in ("multi-label", "soft"):
        return []
    data = f"{'several labels an image' if task == 'multi-label' else 'soft labels'} ({named('task', task)})"
    problems = []
    if config.classes == 1:
        problems.append(f"{named('classes', 1)} separates two classes by one logit; {data} need a logit for each.")
    if task == "multi-label" and config.loss == "cross-entropy":
        problems.append(
            f"{named('loss')} must be bce with {data}: cross-entropy makes the probabilities of all classes sum to 1."
        )
    if task == "soft" and config.loss == "bce":
        problems.append(
            f"{named('loss')} must be cross-entropy with {data}, which sum to 1: bce judges each class on its own."
        )
    if config.sampler == "balanced":
        also = f"; {named('class_weights', 'balanced')} weights the labels instead" if task == "multi-label" else ""
        problems.append(
            f"{named('sampler', 'balanced')} shows classes equally often, but with {data} an image is not of one class"
            f"{also}."
        )
    if task == "soft" and config.class_weights == "balanced":
        problems.append(f"{named('class_weights', 'balanced')} needs the size of each class, which {data} do not have.")
    return problems


def _problems_with_parts(batch_size: Any, parts: Any) -> list[str]:
    if not isinstance(batch_size, int) or not isinstance(parts, int) or parts < 2 or batch_size % parts == 0:
        return []  # `validate` reports wrong types and numbers.
    below = batch_size // parts * parts
    sizes = " or ".join(str(size) for size in (below, below + parts) if size > 0)
    return [
        f"{named('batch_size')} is {batch_size}, which cannot be divided into {parts} parts ({named('accumulate')}): "
        f"take {sizes}."
    ]


def _problem_with_option(option: Any) -> str | None:
    if not isinstance(option, str):
        return None  # `validate` reports it.
    name, _, value = option.partition("=")
    if not re.fullmatch(r"[A-Za-z_]\w*=.+", option):
        return f"{named('arch_options')} must be KEY=VALUE, not {format_value(option)}."
    try:
        json.dumps(read_yaml(value))  # The model file stores it as JSON.
    except (ValueError, TypeError, RecursionError) as error:
        return f"{named('arch_options')} must have plain values, but that of {format_value(name)} is not: {error}."
    return None


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
