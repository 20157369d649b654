"""All hints of the product, found in the syntax tree: so a new hint is known without being listed anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from locations import ROOT


@cache
def hints() -> list[tuple[str, str]]:
    """The place and the template of every hint; `{}` stands for a value. Found once in a process that needs them."""
    return list(_hints())


def _hints() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "tfsctl").rglob("*.py")):
        if "server" in file.relative_to(ROOT).parts[1:2]:
            continue
        source = file.read_text(encoding="utf-8")
        if "hint" not in source.lower() and "KnownError" not in source:
            continue
        tree = ast.parse(source)
        for expression in _resolved(tree, [one for node in ast.walk(tree) for one in _hint_expressions(node)]):
            for text in _texts(expression):
                yield f"{file.relative_to(ROOT)}:{expression.lineno}", text


def _resolved(tree: ast.Module, expressions: list[ast.expr]) -> list[ast.expr]:
    """The expressions, with those assigned to names in them, and those that functions of the module return for them."""
    names = {node.id for one in expressions for node in _leaves(one) if isinstance(node, ast.Name)}
    called = {
        node.func.id
        for one in expressions
        for node in _leaves(one)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    found = list(expressions)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") in names for target in node.targets):
            found.append(node.value)
        if isinstance(node, ast.FunctionDef) and node.name in called:
            found += [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
    return list({id(one): one for one in found}.values())


def _leaves(node: ast.expr) -> list[ast.expr]:
    """The expressions that may be the whole text."""
    if isinstance(node, ast.IfExp):
        return [*_leaves(node.body), *_leaves(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [leaf for value in node.values for leaf in _leaves(value)]
    return [node]


def pattern_of(template: str) -> re.Pattern[str]:
    """A pattern for the hints of a template. `{name}` in the table of known errors stands for a value, too."""
    return re.compile(".*".join(map(re.escape, re.split(r"\{\w*\}", template))), re.DOTALL)


def _hint_expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "hint")
        if isinstance(node.func, ast.Name) and node.func.id == "KnownError" and len(node.args) == 3:
            yield node.args[2]
    if isinstance(node, ast.FunctionDef):  # the defaults of parameters
        pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        yield from (default for argument, default in pairs if argument.arg == "hint" and default is not None)
    if isinstance(node, ast.Assign):
        names = [
            target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "") for target in node.targets
        ]
        if any(name.lower().strip("_") == "hint" or name.lower().endswith("_hint") for name in names):
            yield node.value


def _texts(node: ast.expr) -> list[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [
            "".join(
                "{}" if isinstance(part, ast.FormattedValue) else str(getattr(part, "value", ""))
                for part in node.values
            )
        ]
    if isinstance(node, ast.BinOp):
        return [left + right for left in _texts(node.left) or ["{}"] for right in _texts(node.right) or ["{}"]]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _texts(value)]
    return []
