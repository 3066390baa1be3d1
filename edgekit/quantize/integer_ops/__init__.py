"""Integer means integer: operators that litert-quantizer leaves in float, computed in int8.

Before anything else, `rewrites` replaces groups of operators by one (`dense`, `curves`, `norms`).
Before the quantizer runs, it replaces operators by equal ones that the quantizer knows; `care`
looks after those that 8 bits would break, `padding` after paddings of minus infinity. After it has
run, `emitted` replaces what is still in float by the runtime's own int8 kernels, which `kernels`
lists. What then stays in float is named with the reason.
"""
