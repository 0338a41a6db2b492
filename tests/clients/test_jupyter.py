"""The notebook of document 002, executed by a real Jupyter kernel on the loop under
test; the client that drives it (zmq's sockets on asyncio) runs on that loop as well."""

import importlib.util
import json

import pytest
import real

nbformat = real.need("nbformat")
nbclient = real.need("nbclient")
real.need("ipykernel")
from jupyter_client.kernelspec import KernelSpecManager  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402

DOCUMENTS = real.SHARED / "documents"
RESET = "%reset -f"


def run_documents():
    """The tool beside the documents, as a module: what a right output is."""
    path = DOCUMENTS / "run_documents.py"
    spec = importlib.util.spec_from_file_location("run_documents", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook_examples(with_legacy):
    if not DOCUMENTS.is_dir():
        pytest.skip("../shared/documents is not there")
    examples = json.loads((DOCUMENTS / "examples.json").read_text("utf-8"))["examples"]
    return [
        example
        for example in examples
        if example["id"].startswith("002")
        and "fails" not in example
        and (with_legacy or "legacy" not in example)
    ]


def cells_of(example):
    text = (DOCUMENTS / example["document"]).read_text("utf-8").split("\n")
    return ["\n".join(text[a - 1 : b]) for a, b in example["lines"]]


def printed(cell):
    """What the cell wrote to stdout."""
    assert all(o.output_type in ("stream", "execute_result") for o in cell.outputs)
    return "".join(o.text for o in cell.outputs if o.get("name") == "stdout")


@pytest.fixture
def execute(impl, run_loosely, tmp_path, monkeypatch):
    """Executes cells in a new kernel of the implementation under test."""
    options = ["--legacy"] if impl.is_cloop else []
    command = real.python_on(impl, "-m", "ipykernel_launcher", "-f")
    command[3:3] = options
    spec = {
        "argv": [*command, "{connection_file}"],
        "display_name": "under test",
        "language": "python",
    }
    folder = tmp_path / "kernels" / "under-test"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    for name, value in real.child_env(IPYTHONDIR=str(tmp_path / "ipython")).items():
        monkeypatch.setenv(name, value)

    async def main(notebook):
        specs = KernelSpecManager(kernel_dirs=[str(folder.parent)])
        manager = AsyncKernelManager(
            kernel_name="under-test", kernel_spec_manager=specs
        )
        client = nbclient.NotebookClient(notebook, km=manager, timeout=30)
        await client.async_execute()

    def execute(cells):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
        run_loosely(main, notebook, timeout=50)
        return notebook.cells

    return execute


def test_notebook(impl, execute, expected_loop):
    examples = notebook_examples(with_legacy=impl.is_cloop)
    assert len(examples) >= 4
    cells = [
        "import asyncio, real\nawait asyncio.sleep(0)\nprint(real.loop_name(), end='')"
    ]
    places = []
    for example in examples:
        source = cells_of(example)
        cells.append(RESET)
        places.append((example, len(cells), len(cells) + len(source)))
        cells += source
    done = execute(cells)
    assert printed(done[0]) == expected_loop
    mismatch = run_documents().mismatch
    for example, start, end in places:
        output = "".join(map(printed, done[start:end]))
        assert mismatch(example, 0, output, "") is None, example["id"]


def test_tasks_live_on_between_cells(execute, expected_loop):
    cells = [
        "import asyncio, real\nname = await asyncio.ensure_future("
        "asyncio.sleep(0, 'x'))\nprint(real.loop_name(), end='')",
        "async def count():\n    for n in range(5):\n        await asyncio.sleep(0)\n"
        "    return n\ntask = asyncio.ensure_future(count())",
        "print(await task, end='')",
        "try:\n    asyncio.run(count())\nexcept RuntimeError as exc:\n"
        "    print(exc, end='')",
        "server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\n"
        "reader, writer = await asyncio.open_connection("
        "*server.sockets[0].getsockname())\nprint(await reader.read(), end='')\n"
        "writer.close(); server.close()",
    ]
    done = [printed(cell) for cell in execute(cells)]
    assert done[0] == expected_loop
    assert done[2] == "4"
    assert done[3] == "asyncio.run() cannot be called from a running event loop"
    assert done[4] == "b''"
