"""The Dart of the stages as JavaScript: a few rules for the few forms that the templates use.

There is no Dart SDK to run it with. Syntax is checked by a parser of Dart; this here lets the
arithmetic run on golden vectors. It says nothing about types, and text that has another form than
the templates' does not come out as JavaScript.
"""

from __future__ import annotations

import re

_TYPE = r"(?:List<[\w<>]+>|_?[A-Z]\w*|int|double|bool|String|num|void)\??"
_OPERAND = r"(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|[\w.]+(?:\([^()]*\)|\[[^\[\]]*\])?)"
PRELUDE = """
const { min, max, exp, sin, cos, PI: pi } = Math;
const [Uint8List, Int8List, Int16List, Int32List, Float32List, Float64List] =
  [Uint8Array, Int8Array, Int16Array, Int32Array, Float32Array, Float64Array];
const ArgumentError = RangeError;
const getters = (of, table) => Object.entries(table).forEach(([name, get]) => Object.defineProperty(of, name, { get }));
const methods = (of, table) => Object.entries(table).forEach(([name, value]) => Object.defineProperty(of, name, { value }));
getters(Number.prototype, {
  isFinite() { return Number.isFinite(+this); }, isOdd() { return this % 2 !== 0; },
});
methods(Number.prototype, {
  floor() { return Math.floor(this); }, ceil() { return Math.ceil(this); },
  truncate() { return Math.trunc(this); }, abs() { return Math.abs(this); }, toDouble() { return +this; },
  compareTo(other) { return this < other ? -1 : this > other ? 1 : 0; },
});
for (const of of [Array.prototype, Object.getPrototypeOf(Uint8Array.prototype)]) {
  getters(of, { first() { return this[0]; }, last() { return this[this.length - 1]; } });
  methods(of, {
    add(one) { this.push(one); }, sublist(start, end) { return this.slice(start, end); },
    fillRange(start, end, value) { this.fill(value, start, end); },
  });
}
"""  # noqa: E501


def javascript(stages: str, tables: str) -> str:
    """An ES module with the interface of the TypeScript stages."""
    text = re.sub(r"(?m)^\s*//.*$|(?<=[;{,]) // .*$", "", stages)
    text = re.sub(r"(?m)^(?:import|typedef) .*;$", "", text)
    text = re.sub(r"(?ms)^class (\w+) \{\n(.*?)^\}", _class, text)
    text = re.sub(rf"{_TYPE} Function\([^()]*\) ", "", text)
    text = re.sub(rf"(?m)^( *){_TYPE} (\w+)\(([^()]*)\) (\{{|=> (.*);)$", _function, text)
    text = re.sub(rf"\bfor \(final {_TYPE} (\w+) in ", r"for (const \1 of ", text)
    text = re.sub(rf"\b(?:final |const )?{_TYPE} (\w+) =(?!=)", r"let \1 =", text)
    text = re.sub(r"\(int (\w+), int (\w+)\) =>", r"(\1, \2) =>", text)
    while "~/" in text:
        text, count = re.subn(
            rf"({_OPERAND}) ~/ ({_OPERAND})", r"Math.trunc(\1 / \2)", text, count=1
        )
        assert count, text[max(0, text.index("~/") - 80) :][:160]
    text = re.sub(r"(?<![\w.])(?<!new )(?<!class )(_?[A-Z]\w*)\(", r"new \1(", text)
    data = re.sub(r"(?m)^const List<.*> (\w+) = ", r"const \1 = ", tables)
    exported = "export { label, normalise, resize, shown as decode"
    exported += ", locate }" if "function locate(" in text else " }"
    shown = "const shown = (outputs, ...more) => decode(new Outputs(...outputs), ...more);"
    return "\n".join((PRELUDE, data, text, shown, exported))


def _names(parameters: str) -> list[str]:
    plain = re.sub(r"[\[\]{}]", "", parameters)
    return [re.sub(rf"^{_TYPE} ", "", one.strip()) for one in plain.split(",") if one.strip()]


def _function(found: re.Match[str]) -> str:
    space, name, parameters, body, value = found.groups()
    rest = f"{{ return {value}; }}" if value is not None else body
    return f"{space}function {name}({', '.join(_names(parameters))}) {rest}"


def _class(found: re.Match[str]) -> str:
    name, body = found.groups()
    made = re.search(rf"(?ms)^  {name}\(([^()]*)\)(;|\n      : (.*?);\n| \{{(.*?)^  \}})", body)
    assert made, body
    names = _names(made[1])
    sets = [f"this.{one[5:]} = {one[5:]};" for one in names if one.startswith("this.")]
    lines = re.findall(r"(\w+ = .*?)(?:,\n|$)", made[3] or "")
    sets += [f"this.{line};" for line in lines]
    parameters = ", ".join(one.removeprefix("this.") for one in names)
    inside = "\n".join((made[4] or "", *sets))
    return f"class {name} {{ constructor({parameters}) {{ {inside} }} }}"
