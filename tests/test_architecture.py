"""The house holds: layers import downwards only, every module imports, every configuration binds."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import toolgen
from toolgen.config import load_config

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"indexing", "stages", "benchmarks", "configs"}
ALLOWED = {
    "toolgen": set(),
    "indexing": {"indexing"},
    "stages": {"stages"},
    "benchmarks": ROOMS,
}
COMMANDS = ("agent_commands.py", "bench.py", "cli.py", "index.py")
"""The files of the library that look upward, inside functions only."""
TORCH_FREE = ("toolgen.tools", "toolgen.queries", "toolgen.codebook", "toolgen.metrics", "toolgen.retriever")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_rooms_import_only_what_they_may(folder: str) -> None:
    checked = 0
    for path in (ROOT / folder).rglob("*.py"):
        if path.name in COMMANDS:
            continue
        checked += 1
        for name in _imports(path):
            room = re.match(r"toolgen\.(indexing|stages|benchmarks|configs)\b", name)
            assert not room or room.group(1) in ALLOWED[folder], f"{path.relative_to(ROOT)} imports {name}"
            assert name.split(".")[0] not in ROOMS, f"{path.relative_to(ROOT)} imports the bare {name}"
    assert checked


def test_the_command_line_looks_upward_inside_functions_only() -> None:
    for file in COMMANDS:
        tree = ast.parse((ROOT / "toolgen" / file).read_text(encoding="utf-8"))
        top = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not [name for name in top if re.match(r"toolgen\.(indexing|stages|benchmarks)", name)], file


def test_catalogue_codes_and_metrics_need_no_torch() -> None:
    script = f"import sys, {', '.join(TORCH_FREE)}, toolgen.indexing.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_module_imports_without_side_effects_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    names = [module.name for module in pkgutil.walk_packages(toolgen.__path__, "toolgen.")]
    for room in ("indexing", "stages", "benchmarks"):
        package = importlib.import_module(f"toolgen.{room}")
        names += [module.name for module in pkgutil.iter_modules(package.__path__, f"toolgen.{room}.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    assert capfd.readouterr().out == ""
    assert len(names) > 20


def _configurations() -> list[Path]:
    return sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", _configurations(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_binds_and_shows_its_command(path: Path) -> None:
    from toolgen.benchmarks.agent_recipe import AgentQuickstartConfig
    from toolgen.benchmarks.baselines import check_baselines
    from toolgen.benchmarks.bi_encoder import BiEncoderConfig
    from toolgen.benchmarks.grid import CompareConfig, Material, further_cells, grid_cells, stages_of
    from toolgen.benchmarks.methods import ENCODERS, encoder_config
    from toolgen.benchmarks.quickstart import QuickstartConfig
    from toolgen.stages.agent import AgentConfig
    from toolgen.stages.memorization import MemorizationConfig
    from toolgen.stages.retrieval import RetrievalConfig
    from toolgen.toolken.config import ToolkenConfig

    kinds = {
        "memorization": MemorizationConfig,
        "retrieval": RetrievalConfig,
        "retrieval_rows": RetrievalConfig,
        "agent": AgentConfig,
        "quickstart": QuickstartConfig,
        "quickstart_agent": AgentQuickstartConfig,
        "bi_encoder": BiEncoderConfig,
    }
    rooms = {"benchmarks": CompareConfig, "toolken": ToolkenConfig}
    config = load_config(rooms.get(path.parent.name) or kinds[path.stem], path)
    if isinstance(config, CompareConfig):
        assert config.name == path.stem
        files = Material(config.data.tools, config.data.queries, Path("codebooks"))
        cells = grid_cells(config.grid)
        assert all(stages_of(cell, config, files) for cell in (*cells, *further_cells(config.grid, cells[0])))
        check_baselines(config.baselines, others=tuple(ENCODERS))
        encoder_config(config.grid.seeds[0], config, files)
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert re.search(r"^#\s+(deepspeed|python|toolgen) ", header, re.MULTILINE), "the header shows no command"
    deepspeed = getattr(getattr(config, "training", None), "deepspeed", None)
    assert deepspeed is None or (ROOT / deepspeed).is_file()


def test_only_distributed_knows_ranks() -> None:
    for path in (ROOT / "toolgen").rglob("*.py"):
        if path.name != "distributed.py":
            source = path.read_text(encoding="utf-8")
            assert "torch.distributed" not in source and '"RANK"' not in source, path.name
