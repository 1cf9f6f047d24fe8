"""The equation of the network, its adjoint, and the implementations of one step.

The voltages V of all cells follow, from frame to frame,

    V_t = V_{t-1} + a (-V_{t-1} + b + W max(V_{t-1}, 0) + x_t),    a = dt / max(tau, dt),

explicit Euler for tau dV/dt = -V + b + W max(V, 0) + x. A cell with tau < dt follows its input
within one step.

    dt, tau  step (one frame) and membrane time constant, in seconds
    x_t      luminance of frame t in [0, 1] at the photoreceptors of its column, zero elsewhere
    V, b     voltage and bias, in the unit of x: arbitrary, and not the same in two networks
    W        w_ij = sign * synapse count * strength of the synapses from cell j to cell i, no unit

The adjoint. Let an objective have the partial derivatives d_t with respect to V_t; then the total
derivative g_t, through all later frames, and the gradients follow backwards from g_T = d_T:

    g_{t-1} = d_{t-1} + (1 - a) g_t + [V_{t-1} > 0] W^T (a g_t),
    gradient with respect to x_t = a g_t at the photoreceptors; to V_0 = g_0.

All that the forward pass has to store are the gates [V > 0].

W is the same in all columns: a *tap* is a weight from a cell type to another at an offset of
columns, and W is applied either as a sparse matrix over all cells or tap by tap.

    step    runs on            applies W              stores a gate in   file
    sparse  any device         as a sparse matrix     a byte             sparse.py
    fused   CPU, needs Numba   tap by tap, compiled   a bit              fused.py

The other files: `layout` (cells, synapses and parameters in terms that all steps share), `select`
(which step to use), `simulate` (a step over all frames, differentiable in torch); and for the fused
step `one_item` and `eight_items` (its compiled time loops: many items of one network are simulated
eight at a time, each in a lane of the processor's vectors, and those left over one by one, with a
vector for eight columns; every item's result is bit for bit the same), `padded_grid` and `blocks`
(the memory layouts of the two), `compiling`, `simd` (vector instructions for Numba), `barrier` (at
which the threads of a loop wait for each other) and `threads`.
"""
