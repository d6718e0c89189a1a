"""An example of a tool in Python: the outline of a Python file.

`build.sh` makes a component of it. In the settings:

    [[plugin]]
    id = "outline"
    path = "/PATH/examples/tool-python/python_outline.wasm"
    grants = { files = { read = ["**/*.py"] } }
"""

import ast
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.tool import Call, Effects, Output, Spec
from wit_world.imports import files
from wit_world.imports.types import Error, ErrorCode

MAX_BYTES = 1 << 20
MAX_DEPTH = 50

SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "Path of the file, from the root of the work tree."},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def fail(code: ErrorCode, message: str) -> Err:
    return Err(Error(code, message, None))


def outline(node: ast.AST, depth: int = 0) -> list[str]:
    """One line for each class and function, those inside of others indented."""
    if depth > MAX_DEPTH:
        return []
    lines = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            lines.append(f"{'  ' * depth}class {child.name}  # line {child.lineno}")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = ", ".join(argument.arg for argument in child.args.args)
            lines.append(f"{'  ' * depth}def {child.name}({arguments})  # line {child.lineno}")
        else:
            continue
        lines.extend(outline(child, depth + 1))
    return lines


class Tool(exports.Tool):
    def describe(self) -> list[Spec]:
        return [
            Spec(
                name="python_outline",
                title="Outline of a Python file",
                description="Lists the classes and functions of a Python file, with their lines.",
                input_schema=json.dumps(SCHEMA),
                effects=Effects.READS | Effects.IDEMPOTENT,
            )
        ]

    def validate_settings(self, settings: str) -> None:
        if json.loads(settings or "{}"):
            raise fail(ErrorCode.INVALID, "this plugin has no settings")

    def invoke(self, call: Call) -> Output:
        path = json.loads(call.arguments)["path"]
        content = files.read(path, 0, MAX_BYTES)
        if content.size > MAX_BYTES:
            raise fail(ErrorCode.TOO_LARGE, f"{path} has more than {MAX_BYTES} bytes")
        try:
            tree = ast.parse(content.data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise fail(ErrorCode.INVALID, f"{path} is not valid Python: {error}") from error
        lines = outline(tree)
        text = "\n".join(lines) or f"[{path} has no classes and no functions]"
        return Output(content=text, details=json.dumps({"count": len(lines)}))
