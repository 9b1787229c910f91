"""A query is read off the event loop, so a long one keeps no other request waiting."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import qanatix_api
from qanatix_api.checking import apart

# What reads a query's text.
READS = {"check_connector", "check_query", "check_watch", "check_extent", "check_watermark", "uses_watermark"}


def called_on_the_loop(path: Path) -> Iterator[str]:
    """Each such call that stands in an `async def`, and not in a function within it."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.AsyncFunctionDef):
            waiting = list(function.body)
            while waiting:
                node: ast.AST = waiting.pop()
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READS:
                    yield f"{path.name}: {function.name} calls {node.func.id}"
                if not isinstance(node, ast.FunctionDef | ast.Lambda):
                    waiting += ast.iter_child_nodes(node)  # type: ignore[arg-type]  # statements and all below them


def test_no_handler_reads_a_query_on_the_event_loop() -> None:
    modules = Path(qanatix_api.__file__).parent.glob("*.py")
    assert [call for module in modules for call in called_on_the_loop(module)] == []


def test_other_work_goes_on_while_a_query_is_read() -> None:
    async def both() -> bool:
        read = Event()
        reading = asyncio.create_task(apart(read.wait, 60))
        await asyncio.sleep(0)
        read.set()  # nobody could, if the loop waited for it
        return await reading

    assert asyncio.run(both())
