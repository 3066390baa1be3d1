"""Integer means integer: operators that litert-quantizer leaves in float, computed in int8.

Before the quantizer runs, `rewrites` replaces operators by equal ones that it knows. After it has
run, `emitted` replaces what is still in float by the runtime's own int8 kernels, which `kernels`
lists. What then stays in float is named with the reason.
"""
